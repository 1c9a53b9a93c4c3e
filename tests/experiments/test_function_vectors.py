"""The experiment runs from task files to a report, goes on where it was, and keeps questions apart."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.function_vectors import EXPERIMENT, NAME, PRESETS, Config, run
from experiments.function_vectors.context import StudyContext
from experiments.function_vectors.evaluation import CONTROLS, SWEPT, WAYS
from experiments.function_vectors.fitting import Vectors, fit_cases
from experiments.function_vectors.further import says
from tests.tiny import tiny_folder
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.function_vector import FunctionVector
from workbench.data.in_context import LIST_TASKS
from workbench.models.edits import Add, Edit
from workbench.models.sites import Site
from workbench.report.blocks import HeatMap, Table
from workbench.report.document import Document
from workbench.report.estimate import Estimate
from workbench.runs.rows import Row, read_rows
from workbench.runs.run import Run

WORDS = ["ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kid", "lynx"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("inputs")
    answers = [str.upper, str.title, *(str.strip,) * 3]
    for name, answer in zip((*LIST_TASKS, "plain"), answers, strict=True):
        pairs = [{"input": word, "output": answer(word)} for word in WORDS]
        kind = folder / "data" / ("abstractive" if name == "plain" else "extractive")
        kind.mkdir(parents=True, exist_ok=True)
        (kind / f"{name}.json").write_text(json.dumps(pairs))
    small = replace(PRESETS["smoke"], tasks=(), exact=("plain",), shots=2, every=1, heads=3, steps=2, seeds=(0, 1))
    return replace(small, model=str(tiny_folder(folder)), source=str(folder / "data"))


@pytest.fixture(scope="module")
def folder(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> tuple[Row, ...]:
    return read_rows(folder / "results.json")


def test_every_way_has_numbers_of_every_task_and_over_tasks(rows: tuple[Row, ...]) -> None:
    for setting in ("zero_shot", "shuffled_labels"):
        for way in WAYS:
            mine = [row for row in rows if (row.method, row.metric) == (way, f"{setting}.log_p")]
            assert {(row.concept, row.seed) for row in mine if row.concept} == {
                (task, seed) for task in (*LIST_TASKS, "plain") for seed in (0, 1)
            }
            [over] = [row for row in mine if row.concept is None]
            assert over.n == 5
            assert over.low is not None or over.note  # equal values have no interval, and say so
    ways = {"none", "own", "composed", "summed", "capital", "last"}
    assert {row.method for row in rows if row.metric == "composition.top1"} == ways
    assert {row.concept for row in rows if row.metric == "templates.top1"} == {"plain"}
    assert {row.concept for row in rows if row.metric == "natural.hits"} == {"plain"}
    assert all(row.experiment == NAME for row in rows)


def test_the_report_has_a_verdict_controls_and_a_map_of_heads(folder: Path) -> None:
    document = Document.load(folder)
    names = {getattr(block, "name", "") for section in document.sections for block in section.blocks}
    assert {"answers", "tasks", "layers-top1", "heads", "shortlist", "elsewhere", "rebuilt", "composition"} <= names
    page = (folder / "report.html").read_text()
    assert "Random vector of equal length" in page
    assert document.sections[0].title == "Verdict"
    assert document.verdict.startswith("A few heads are not shown to carry a task")


def test_a_question_that_several_seeds_ask_counts_once_and_no_share_leaves_0_to_1(
    config: Config, folder: Path, rows: tuple[Row, ...]
) -> None:
    with Run.open(NAME, config, folder.parent) as opened:
        context = StudyContext.of(config, opened)
        asked = {asked for case in context.cases if case.task == LIST_TASKS[-1] for asked, _ in context.test(case)}
    blocks = [block for section in Document.load(folder).sections for block in section.blocks]
    [table] = [block for block in blocks if isinstance(block, Table) and block.name == "composition"]
    assert len(asked) < sum(len(context.test(case)) for case in context.cases if case.task == LIST_TASKS[-1])
    for _, (top1, *_) in table.rows:
        assert isinstance(top1, Estimate)
        assert top1.n == len(asked)
    ends = [end for row in rows if row.metric.endswith("top1") for end in (row.low, row.high) if end is not None]
    assert 0 <= min(ends) <= max(ends) <= 1


def test_a_control_that_leaves_no_numbers_is_missing_and_the_others_are_not(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: tuple[Row, ...]
) -> None:
    plain = Vectors.edit

    def edit(self: Vectors, way: str, layer: int) -> Edit:
        return (
            Add(site=Site(layer), direction=torch.ones(32) * 1e20, strength=1e20)
            if way == "random"
            else plain(self, way, layer)
        )

    monkeypatch.setattr(Vectors, "edit", edit)
    one = replace(config, seeds=(0,), tasks=("plain", LIST_TASKS[0]))
    broken = read_rows(run(one, tmp_path) / "results.json")
    log_p = {row.concept: row.value for row in broken if (row.method, row.metric) == ("random", "zero_shot.log_p")}
    assert set(log_p.values()) == {None}
    right = [row.value for row in broken if (row.method, row.metric) == ("random", "zero_shot.top1")]
    assert set(right) == {0.0}
    ours = {row.key: row.value for row in broken if row.method == "function_vector" and row.concept}
    assert len(ours) > 10
    assert ours == {row.key: row.value for row in rows if row.key in ours}
    assert "nan" not in (next(tmp_path.glob("*")) / "report.md").read_text()


def test_the_map_shows_no_head_that_was_not_measured(config: Config, tmp_path: Path) -> None:
    """A head that is on no shortlist has no effect, and not an effect of 0, which is more than a negative one."""
    few = replace(config, exact=(), tasks=("plain", LIST_TASKS[0]), seeds=(0,), shortlist=2, heads=2)
    document = Document.load(run(few, tmp_path))
    blocks = [block for section in document.sections for block in section.blocks]
    [shown] = [block for block in blocks if isinstance(block, HeatMap) and block.name == "heads"]
    largest = [max(cell for cell in row if isinstance(cell, float)) for row in shown.values]  # each has one
    assert 2 <= len(largest) <= 4
    assert largest == sorted(largest, reverse=True)


def test_every_block_is_tried(folder: Path) -> None:
    units = [json.loads(path.read_text()) for path in folder.glob("units/evaluation-*/unit.json")]
    assert [unit["value"]["tried"] for unit in units] == [[0, 1, 2]] * len(units) != []


def test_an_answer_is_a_word_of_its_own() -> None:
    assert not says("Sulfur and Cobalt", "S")
    assert says("It is S, of course.", "S")
    assert says("in São Tomé (the city)", "São Tomé")


def test_a_vector_is_saved_with_its_heads(folder: Path, config: Config) -> None:
    vector = Artifact.load(folder / "artifacts" / "plain-0.safetensors")
    assert isinstance(vector, FunctionVector)
    assert len(vector.heads) == len(vector.effects) == config.heads
    assert vector.effects.tolist() == sorted(vector.effects.tolist(), reverse=True)
    assert vector.origin.concept == "plain"
    assert vector.vector.edit().site == vector.site


def test_a_finished_run_measures_nothing_again(folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "results.json").read_bytes()
    for name in ("fitting._measure", "evaluation._measured", "further._measured"):
        monkeypatch.setattr(f"experiments.function_vectors.{name}", lambda *_: pytest.fail("measured again"))
    assert run(config, folder.parent) == folder
    assert (folder / "results.json").read_bytes() == before


def test_no_question_is_seen_before_it_counts(config: Config, folder: Path) -> None:
    with Run.open(NAME, config, folder.parent) as opened:
        context = StudyContext.of(config, opened)
        for case in context.cases:
            train, validation, test = map(set, (case.split.train, case.split.validation, case.split.test))
            assert not train & validation
            assert not (train | validation) & test
            for each in (*context.shown(case), *context.corrupted(case)):
                assert {each.query} <= train
                assert {asked for asked, _ in each.demonstrations} <= {asked for asked, _ in train}
            for each in context.asked(case):
                assert each.query in test
                assert {*each.demonstrations} <= train


def test_controls_are_as_long_as_they_should_be_and_of_other_tasks(config: Config, folder: Path) -> None:
    with Run.open(NAME, config, folder.parent) as opened:
        context = StudyContext.of(config, opened)
        fits = fit_cases(context)
        every = {key: Vectors(context, fit, fits) for key, fit in fits.items()}
    for key, vectors in every.items():
        assert float(vectors.random.norm()) == pytest.approx(float(vectors.function_vector.norm()), rel=1e-5)
        assert vectors.other.fit.case.task != key[0]
        assert vectors.other.fit.case.seed == key[1]
        assert {type(vectors.edit(way, 1)).__name__ for way in (*SWEPT, *CONTROLS)} == {"Add", "Replace"}
    assert not bool((every["plain", 0].random == every["plain", 1].random).all())


@pytest.mark.parametrize(
    ("flags", "tasks", "exact"),
    [
        ("--source own", (), ()),
        ("--source own --exact a", (), ("a",)),
        ("--source own --tasks a b", ("a", "b"), ()),
        ("--tasks antonym present-past", ("antonym", "present-past"), ("present-past",)),
        ("--tasks antonym hypernym", ("antonym", "hypernym"), ()),
        ("--seeds 1", PRESETS["default"].tasks, ("present-past",)),
    ],
)
def test_which_tasks_are_taken_follows_what_is_named(
    flags: str, tasks: tuple[str, ...], exact: tuple[str, ...]
) -> None:
    config = EXPERIMENT.parse(flags.split()).config
    assert (config.tasks, config.exact) == (tasks, exact)


@pytest.mark.parametrize("field", ["tasks", "exact"])
def test_a_task_that_is_not_there_is_named(field: str, config: Config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no task 'plan' \(did you mean 'plain'\?\)"):
        EXPERIMENT.run(replace(config, **{field: ("plan",)}), tmp_path)
