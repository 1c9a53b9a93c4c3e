"""The same command after something it reads was changed in place: what is stale is done again, and nothing else."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from experiments.axbench.generation import Generate
from experiments.axbench.layer import LayerComparison
from steering.methods.prompt import PromptSteering
from tests.experiments.stale import (
    CHANGES,
    RUNS,
    Case,
    new_lines,
    redone,
    results,
    run_axbench,
    stamps,
    write_concepts,
)
from workbench.evaluation.steering import Trial
from workbench.models.model import Model
from workbench.runs.rows import read_rows


@pytest.fixture(scope="module", params=list(RUNS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """An experiment that was run; each test leaves its run as the inputs are."""
    case = Case.of(request.param, tmp_path_factory.mktemp(request.param))
    case.run()
    return case


FITS = {"axbench": "fit-*", "directions": "fit-*", "erasure": "eraser-*"}


@pytest.mark.parametrize("case", list(FITS), indirect=True)
def test_another_concept_refits_nothing_and_leaves_no_row_when_it_goes(case: Case):
    folder = case.folder
    two, fits = results(folder), stamps(folder, FITS[case.name])
    write_concepts(case.inputs.folder, "sea", "rain", "wind")
    case.run()
    now = stamps(folder, FITS[case.name])
    assert {path: now[path] for path in fits} == fits
    assert len(now) > len(fits)
    three = results(folder)
    assert three.keys() > two.keys()
    assert three == pytest.approx(case.fresh(), abs=1e-5)
    write_concepts(case.inputs.folder, "sea", "rain")
    case.run()
    assert results(folder) == pytest.approx(two, abs=1e-5)
    assert {path: stamps(folder)[path] for path in fits} == fits


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_was_changed_in_place_is_done_again(case: Case, change: str):
    folder, before = case.folder, results(case.folder)
    CHANGES[change](case.inputs)
    with new_lines(folder) as said:
        case.run()
    after = results(folder)
    assert after == pytest.approx(case.fresh(), abs=1e-6)
    assert any(change in names for names in redone(said[0]).values())
    same = after.keys() == before.keys() and after == pytest.approx(before, abs=1e-6)
    assert not same or (case.name, change) == ("linear_hypothesis", "chat_template")  # it reads bare words


def test_nothing_is_done_where_nothing_changed(case: Case, monkeypatch: pytest.MonkeyPatch):
    folder = case.folder
    before, found = stamps(folder), results(folder)
    for name in ("read", "generate"):
        monkeypatch.setattr(Model, name, lambda *_, **__: pytest.fail("the model was asked again"))
    with new_lines(folder) as said:
        case.run()
    assert stamps(folder) == before
    assert results(folder) == found
    assert "done again" not in said[0]


def test_every_layer_of_several_has_a_report_of_the_rows_of_this_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(RUNS, "axbench", lambda inputs, root: run_axbench(inputs, root, layers=(0, 1)))
    case = Case.of("axbench", tmp_path)
    folder = case.run()
    pages = [folder / f"layer{layer}" / "report.html" for layer in (0, 1)]
    assert all(re.search(r"\brain\b", page.read_text()) for page in pages)
    write_concepts(case.inputs.folder, "sea")
    case.run()
    assert not any(re.search(r"\brain\b", page.read_text()) for page in pages)
    assert {row.layer for row in read_rows(folder / "results.json")} == {0, 1, None}  # the unsteered model has none


@pytest.mark.parametrize("strength", [None, 0.0, 1.0, -1.0])
def test_the_key_of_answers_has_all_that_their_plan_takes_from_fits(
    strength: float | None, monkeypatch: pytest.MonkeyPatch
):
    """A negative strength is tried on answers that the prompting method asks for: its artifact counts as well."""
    taken, trial = set(), Trial("diffmean", "sea", "Why?", strength, 1, 0)
    context = SimpleNamespace(config=SimpleNamespace(positions="all"), model=None, sampling=None)
    comparison = LayerComparison(cast(Any, context), 1)
    context.once = lambda *_: comparison
    digests = {("diffmean", "sea"): "of diffmean", ("prompt", "sea"): "of prompt"}
    vars(comparison)["fit_digests"] = digests
    monkeypatch.setattr("experiments.axbench.generation.generation_inputs", lambda *_: {})
    fit = PromptSteering(), SimpleNamespace(text="about the sea")
    monkeypatch.setattr(LayerComparison, "fit_of", lambda _, *names: taken.add(names) or fit)

    def key() -> object:
        return Generate("removal", (trial,), 1).inputs(cast(Any, context))["artifacts"]

    comparison.plan(trial)
    before = key()
    for name in digests:
        vars(comparison)["fit_digests"] = {**digests, name: "another"}
        assert (key() != before) == (name in taken), name
