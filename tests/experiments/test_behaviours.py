"""Planted behaviours are found and moved, what counts chooses nothing, and the fast way is the slow way."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from experiments.behaviours import EXPERIMENT, NAME, PRESETS, Config, run
from experiments.behaviours.config import check_comparable
from experiments.behaviours.context import BehaviourContext
from experiments.behaviours.continuations import Continuations
from experiments.behaviours.evaluation import CHOSEN, BehaviourEvaluation, at_level
from experiments.behaviours.fitting import fit_vectors
from experiments.behaviours.preferences import answer_margins, letter_probabilities, preferences
from experiments.behaviours.results import BehaviourResults
from experiments.behaviours.side_effects import NeutralTexts, measure_effects
from experiments.behaviours.sweep import BehaviourSweep, Choice, sweep_behaviours
from tests.tiny import FAMILIES, Family, tiny_folder, tiny_model, tiny_module, tiny_tokenizer
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.vector import Vector
from workbench.data.behaviours import TOPICS, BehaviourPair, packaged_behaviours
from workbench.data.items import DataError
from workbench.evaluation.judges.base import JudgedText, Rating
from workbench.models.edits import Add, Edit
from workbench.models.gates import Gate
from workbench.models.model import Model
from workbench.models.positions import Positions
from workbench.models.sites import Site
from workbench.report.blocks import Cards
from workbench.report.document import Document
from workbench.runs.rows import Row, read_rows
from workbench.runs.run import Run

BEHIND = Positions("prompt[-1]+response")
SIDES = {"up": ("uu{}uu", "dd{}dd"), "left": ("ll{}ll", "rr{}rr")}
"""Two behaviours: which letters their answers are full of."""
PER_TOPIC = 2


def planted_folder(root: Path) -> str:
    """A tiny model in which u and d, and l and r, are opposite directions of embedding and unembedding alike."""
    module, tokenizer = tiny_module("llama"), tiny_tokenizer()
    module.config.max_position_embeddings = 4096
    directions = torch.linalg.qr(torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))[0].T
    for pair, direction in zip(("ud", "lr"), directions, strict=True):
        for letter, sign in zip(pair, (1, -1), strict=True):
            (token,) = tokenizer(letter, add_special_tokens=False)["input_ids"]
            module.model.embed_tokens.weight.data[token] = 3 * sign * direction
            module.lm_head.weight.data[token] = 2 * sign * direction
    module.save_pretrained(root / "planted")
    tokenizer.save_pretrained(root / "planted")
    return str(root / "planted")


def lines(name: str, changed: str = "") -> list[dict[str, Any]]:
    """Pairs of one behaviour, two a topic; `changed` is put into the answers of evaluation pairs."""
    found = []
    for number, (topic, split) in enumerate(TOPICS.items()):
        for k in range(PER_TOPIC):
            said = f"{number}{k}{changed if split == 'evaluation' else ''}"
            matching, other = (side.format(said) for side in SIDES[name])
            asked = {"question": f"{name} {topic} {k}?", "reworded": f"{topic} {k} {name}?"}
            found.append({"behaviour": name, "topic": topic, **asked, "matching": matching, "other": other})
    return [one | {"letter": "AB"[k % 2]} for k, one in enumerate(found)]


def write_pairs(path: Path, changed: str = "") -> str:
    path.write_text("\n".join(json.dumps(one) for name in SIDES for one in lines(name, changed)))
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("inputs")
    return replace(
        PRESETS["default"],
        model=planted_folder(folder),
        source=write_pairs(folder / "pairs.jsonl"),
        behaviours=(),
        methods=("diffmean", "caa/letters"),
        layers=(0, 1),
        strengths=(0.25, 1.0),
        test=6,
        levels=(0.02,),
    )


@pytest.fixture(scope="module")
def folder(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[tuple[str, str, str | None], Row]:
    found = read_rows(folder / "results.json")
    return {(row.method, row.metric, row.concept): row for row in found if not row.metric.startswith("validation")}


def value(rows: dict[tuple[str, str, str | None], Row], *key: str | None) -> float:
    method, metric, concept = (*key, None)[:3]
    found = rows[str(method), str(metric), concept].value
    assert found is not None
    return float(found)


def test_a_planted_behaviour_is_moved_and_the_controls_are_not(rows: dict[tuple[str, str, str | None], Row]) -> None:
    metric = "chosen.answers.shift"
    for name in SIDES:
        planted = value(rows, "diffmean", metric, name)
        assert planted > 0.3
        assert max(value(rows, control, metric, name) for control in ("random", "shuffled")) < planted / 2
    assert value(rows, "diffmean", "chosen.answers.wrong_way") == 0
    assert value(rows, "diffmean", "reworded.answers.shift") > 0.3
    assert value(rows, "diffmean", "kl0.02.answers.shift") > value(rows, "random", "kl0.02.answers.shift")


def test_the_vector_of_one_behaviour_does_not_bring_in_the_other(
    rows: dict[tuple[str, str, str | None], Row],
) -> None:
    for name, other in (("up", "left"), ("left", "up")):
        own = value(rows, f"diffmean of {name}", "transfer.answers.shift", name)
        assert own > 1
        assert value(rows, f"diffmean of {name}", "transfer.answers.shift", other) < own / 2


def test_every_way_has_numbers_of_every_behaviour_and_over_them(rows: dict[tuple[str, str, str | None], Row]) -> None:
    for way in ("diffmean", "caa/letters", "random", "shuffled"):
        for measure in ("answers", "letters"):
            for name in (None, *SIDES):
                row = rows[way, f"chosen.{measure}.shift", name]
                assert row.n == (2 if name is None else 6)
                assert row.low is not None or row.note
        assert rows[way, "side_effect", None].n == 2
    assert rows["diffmean", "chosen.answers.beyond_random", None].n == 2


def test_the_report_has_a_verdict_maps_and_controls(folder: Path, rows: dict[tuple[str, str, str | None], Row]) -> None:
    document = Document.load(folder)
    lows = [rows["diffmean", f"kl0.02.answers.beyond_{one}", None].low for one in ("random", "shuffled")]
    assert ("DiffMean" in document.verdict) == all(low is not None and low > 0 for low in lows)
    assert "controls at a side effect of 0.02 nats" in document.verdict
    names = {getattr(block, "name", "") for section in document.sections for block in section.blocks}
    assert {"ways", "equal-side-effect", "behaviours-answers", "choices", "map-answers-0", "transfer"} <= names
    assert document.sections[0].title == "Verdict"
    page = (folder / "report.html").read_text()
    assert "CAA, fitted on letters" in page
    assert "half of the pairs exchanged" in page


def test_a_strength_that_breaks_the_model_costs_its_own_rows_only(config: Config, tmp_path: Path) -> None:
    few = {"train": 5, "validation": 2, "test": 3, "neutral": 1, "questions": 0}
    one = replace(config, strengths=(0.25, 1e6), behaviours=("up",), methods=("diffmean",), layers=(0,), **few)
    found = read_rows(run(replace(one, dtype="float16"), tmp_path) / "results.json")
    tried = {(row.strength, row.value is None) for row in found if row.metric == "validation.answers.shift"}
    assert tried == {(0.25, False), (1e6, True)}
    missing = {(row.metric, row.strength) for row in found if row.value is None}
    assert missing == {(f"validation.{measure}.shift", 1e6) for measure in ("answers", "letters")}
    assert "nan" not in (next(tmp_path.glob("*")) / "report.md").read_text()


def test_where_every_strength_breaks_the_model_the_first_one_is_chosen() -> None:
    grid = (("way", 1, 2.0), ("way", 1, 4.0))
    shifts = {"answers": np.array([[np.nan, np.nan], [1.0, np.nan]])}
    assert BehaviourSweep(grid, shifts).choice("way") == Choice(1, 2.0)
    shifts["answers"][0, 1] = shifts["answers"][1, 1] = -3.0
    assert BehaviourSweep(grid, shifts).choice("way") == Choice(1, 4.0)


def test_a_finished_run_measures_nothing_again(folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "results.json").read_bytes()
    monkeypatch.setattr(Continuations, "of", lambda *_: pytest.fail("measured again"))
    assert run(config, folder.parent) == folder
    assert (folder / "results.json").read_bytes() == before


def test_evaluation_pairs_choose_nothing(folder: Path, config: Config, tmp_path: Path) -> None:
    chosen = []
    for changed in ("", "xyz"):
        other = replace(config, source=write_pairs(tmp_path / f"pairs{changed}.jsonl", changed))
        with Run.open(NAME, other, tmp_path) as opened:
            context = BehaviourContext.of(other, opened)
            vectors = fit_vectors(context)
            sweeps = sweep_behaviours(context, vectors)
            picked = {(way.name, name): sweeps[name].choice(way.name) for way in context.ways for name in SIDES}
            digests = {key: one.content_digest for key, one in vectors.artifacts.items()}
            seen = [pair.matching for each in context.behaviours for pair in each.part("evaluation")]
        chosen.append((picked, digests))
    assert all("xyz" in text for text in seen)  # they were exchanged
    assert chosen[0] == chosen[1]
    # And validation pairs do count: with the sides in each other's place another strength is chosen.
    sweep = sweeps["up"]
    turned = BehaviourSweep(sweep.grid, {name: -shift for name, shift in sweep.shifts.items()})
    assert turned.choice("diffmean") != sweep.choice("diffmean")


def test_fits_and_choices_read_their_own_split(config: Config, tmp_path: Path) -> None:
    with Run.open(NAME, config, tmp_path) as opened:
        context = BehaviourContext.of(config, opened)
        for form in context.forms:
            data = context.dataset(form)
            assert {*data.split} == {"train", "validation"}
            assert not {item.genre for item in data.items} & {"sport", "arts", "people"}


def test_the_choice_is_where_the_mean_shift_of_answers_is_largest() -> None:
    grid = (("a", 1, 0.5), ("a", 1, 1.0), ("a", 2, 0.5), ("b", 1, 0.5))
    answers = np.array([[0.0, 3.0, 0.5, 9.0], [0.0, -1.0, 1.5, 9.0]])
    sweep = BehaviourSweep(grid, {"answers": answers, "letters": -answers})
    assert sweep.choice("a") == Choice(1, 1.0)  # a tie of means: the lower layer
    assert sweep.choice("b") == Choice(1, 0.5)
    assert sweep.at("a", 2, 0.5, "letters").tolist() == [-0.5, -1.5]
    turned = BehaviourSweep(grid[::-1], {"answers": answers[:, ::-1]})  # whatever the order they are asked for in
    assert turned.choice("a") == Choice(1, 1.0)
    still = BehaviourSweep(grid[::-1], {"answers": 0 * answers})
    assert still.choice("a") == Choice(1, 0.5)


def test_shares_and_differences_are_those_of_the_shifts() -> None:
    trials = (("a", CHOSEN), ("random", CHOSEN), ("a", at_level(0.1)))
    plain = np.array([1.0, 2.0, 3.0, 4.0])
    moved = np.stack([plain + np.array([1, 1, -1, 3]), plain + np.array([0, 0, 0, 1]), plain + 2], 1)
    every = {
        name: BehaviourEvaluation(trials, {"answers": plain}, {"answers": moved * sign}, {"answers": np.zeros((0, 2))})
        for name, sign in (("one", 1), ("two", 1))
    }
    results = BehaviourResults(None, {}, {}, {}, every, np.zeros((2, 2)), None)  # type: ignore[arg-type]
    assert results.shift("a", CHOSEN, "answers").value == 1.0
    assert results.wrong_way("a", CHOSEN, "answers").value == 0.25
    assert results.shift("a", at_level(0.1), "answers").value == 2.0
    assert results.shift("random", at_level(0.1), "answers").value is None
    assert results.beyond("a", "random", CHOSEN, "answers").value == 0.75


def trials(model: Model, positions: Positions = BEHIND) -> list[tuple[Edit, ...]]:
    """The unsteered model, each layer, two layers at once, a gate below."""
    steps = torch.randn(3, model.d_model, generator=torch.Generator().manual_seed(1))
    one, two, three = (Add(site=Site(k), direction=step, positions=positions) for k, step in enumerate(steps))
    gate = Gate(site=Site(0), direction=steps[1], threshold=0.0)
    return [(), (three,), (one,), (two,), (one, three), (replace(two, gate=gate),), (replace(one, strength=-2.0),)]


PAIRS = [
    BehaviourPair("What is it?", "It is the sea.", "A hill", "A"),
    BehaviourPair("And then, when the rain has gone?", "No", "Nobody knows it, I fear", "B"),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", ["prompt[-1]+response", "all", "response", "prompt"])
def test_many_edits_behind_one_question_are_what_each_is_alone(family: Family, positions: str) -> None:
    model = tiny_model(family)
    every = trials(model, Positions(positions))
    for pair in PAIRS:
        found = {form: preferences(model, every, pair, form) for form in ("answers", "letters")}
        for number, trial in enumerate(every):
            answers = model.tokenize([pair.question] * 2, [pair.matching, pair.other], chat=True)
            lettered = model.tokenize([pair.lettered], [f"({pair.letter})"], chat=True)
            with model.edited(trial):
                ours, other = model.loss(answers).tolist()
                behind = model.logits(lettered)[0][lettered.rows[0].response].double()  # what follows the bracket
            match, mismatch = (
                model.tokenizer(x, add_special_tokens=False)["input_ids"][0] for x in (pair.letter, pair.other_letter)
            )
            odds = (behind[match] - behind[mismatch]).item()
            assert found["answers"][number] == pytest.approx(other - ours, abs=2e-5)
            assert found["letters"][number] == pytest.approx(1 / (1 + np.exp(-odds)), abs=2e-5)
        assert len({round(float(one), 6) for one in found["answers"]}) > 3  # the edits do something


def test_what_runs_once_is_what_edits_do_not_touch() -> None:
    model = tiny_model()
    rows = model.tokenize(["What is it?"] * 2, ["the sea", "a hill"], chat=True)
    behind = Continuations.of(model, rows, trials(model)[:5])
    gated = Continuations.of(model, rows, trials(model))  # its gate looks at the prompt
    assert gated.prefix.length == rows.rows[0].prefix
    assert behind.prefix.length == rows.rows[0].response - 1
    touched = Continuations.of(model, rows, trials(model, Positions("prompt")))
    assert touched.prefix.length == rows.rows[0].prefix
    with model.edited(trials(model)[1]), pytest.raises(ValueError, match="leave `edited` first"):
        Continuations.of(model, rows, [()])


def test_answers_that_begin_alike_and_single_letters_are_measured() -> None:
    model = tiny_model()
    rows = model.tokenize(["Q"] * 2, ["same a", "same b"], chat=True)
    found = letter_probabilities(model, [()], rows)
    logits = model.logits(rows)[0][-2].double()
    first, second = (row.ids[-1] for row in rows)
    assert found[0] == pytest.approx(float((logits[first] - logits[second]).sigmoid()), abs=1e-6)
    swapped = model.tokenize(["Q"] * 2, ["same b", "same a"], chat=True)
    assert letter_probabilities(model, [()], swapped)[0] == pytest.approx(1 - found[0], abs=1e-6)
    assert answer_margins(model, [()], rows)[0] == pytest.approx(-answer_margins(model, [()], swapped)[0], abs=1e-6)


def test_side_effects_are_equal_where_they_are_matched(config: Config, tmp_path: Path) -> None:
    with Run.open(NAME, config, tmp_path) as opened:
        context = BehaviourContext.of(config, opened)
        vectors = fit_vectors(context)
        choices = {(way.name, name): Choice(1, 0.25) for way in context.ways for name in SIDES}
        effects = measure_effects(context, vectors, choices)
        neutral, (level,) = NeutralTexts(context), config.levels
        for name in SIDES:
            assert effects[name].chosen["diffmean"] == pytest.approx(
                neutral.effects([vectors.edit("diffmean", name, 1, 0.25)])[0], rel=1e-4
            )
            for way, found in effects[name].matched.items():
                strength = found[f"{level:g}"]
                if strength is not None:
                    (there,) = neutral.effects([vectors.edit(way, name, 1, strength)])
                    assert there == pytest.approx(level, rel=0.06)
        assert effects["up"].matched["diffmean"]["0.02"] is not None
        assert neutral.effects([()]).tolist() == [0.0]


def test_the_random_control_is_as_long_as_the_vector(folder: Path) -> None:
    def steps(way: str) -> Sequence[float]:
        found = [Artifact.load(path) for path in sorted(folder.glob(f"units/fit_{way}_*/data.safetensors"))]
        found = found or [Artifact.load(path) for path in sorted(folder.glob(f"units/*{way}*/data.safetensors"))]
        return sorted(one.unit * float(one.direction.norm()) for one in found if isinstance(one, Vector))

    assert len(steps("random")) == 4
    assert steps("random") == pytest.approx(steps("diffmean"), rel=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("prompt",), "method 'prompt' has no strength to choose"),
        (("sft",), "method 'sft' has no strength to choose"),
        (("cast",), "method 'cast' tells prompts apart"),
        (("refusal_direction",), "method 'refusal_direction' tells prompts apart"),
    ],
)
def test_methods_that_cannot_be_compared_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_comparable(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("diffmeen/letters",), r"no method 'diffmeen' \(did you mean 'diffmean'\?\)"),
        (("diffmean/words",), "no method 'diffmean/words'"),
        (("random",), "which are controls"),
    ],
)
def test_names_of_no_method_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(methods=names)


def test_published_pairs_without_rewordings_are_compared_to_the_end(config: Config, tmp_path: Path) -> None:
    entries = [
        {"question": one["question"], "decline_answer": one["matching"], "respond_answer": one["other"]}
        for one in lines("up")
    ]
    (tmp_path / "published.json").write_text(json.dumps(entries))
    small = replace(
        config, source=str(tmp_path / "published.json"), methods=("diffmean",), layers=(1,), strengths=(1.0,)
    )
    found = {(row.method, row.metric): row for row in read_rows(run(small, tmp_path / "runs") / "results.json")}
    assert (found["diffmean", "chosen.answers.shift"].value or 0) > 0.5  # in nats: the planted behaviour is moved
    assert found["diffmean", "reworded.answers.shift"].value is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"behaviours": ("upp",)}, "no behaviour 'upp'"),
        ({"source": "nowhere"}, "neither `packaged` nor"),
        ({"layers": (7,)}, "no block 7"),
    ],
)
def test_what_is_not_there_is_refused_before_the_model_is_loaded(
    changed: dict[str, Any], message: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Config, "load_model", lambda _: pytest.fail("loaded"))
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.run(replace(config, **changed), tmp_path)


class KnowsAnswers:
    """Sees hedging in the packaged matching answers only: a random model writes nothing a real judge could learn."""

    name = "knows"
    identity: ClassVar[dict[str, str]] = {"judge": "knows"}
    matching: ClassVar[set[str]] = {
        pair.matching for each in packaged_behaviours() if each.name == "hedging" for pair in each.pairs
    }

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        return [Rating(2.0 if item.text in self.matching else 0.5, 1.0, 1.0) for item in items]


def test_open_answers_are_rated_where_the_judge_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.behaviours.open_answers.choose_judge", lambda *_: KnowsAnswers())
    small = replace(PRESETS["smoke"], model=str(tiny_folder(tmp_path)), layers=(1,), strengths=(0.5,), train=4, test=2)
    folder = run(replace(small, questions=1, tokens=4), tmp_path / "runs")
    found = {(row.method, row.metric, row.concept): row for row in read_rows(folder / "results.json")}
    assert found["judge", "open.trust", "hedging"].value == 1.0
    assert found["judge", "open.trust", "optimism"].value == 0.5  # it sees no difference there
    for way in ("none", "diffmean", "random", "shuffled"):
        assert found[way, "open.concept", None].value == 0.5
        assert found[way, "open.concept", None].n == 1  # of the two behaviours the one that it is trusted with
    document = Document.load(folder)
    (cards,) = (block for section in document.sections for block in section.blocks if isinstance(block, Cards))
    assert {card.method for card in cards.cards} >= {"Unsteered model", "DiffMean", "Random"}
    assert len(cards.cards) == 8


def test_more_neutral_texts_than_there_are_are_refused_where_they_are_looked_up() -> None:
    Config(neutral=36).look_up()
    with pytest.raises(DataError, match="neutral is 37, and there are 36"):
        Config(neutral=37).look_up()
