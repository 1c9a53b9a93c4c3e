"""The experiment of defences: on a tiny model from command to report, and that held-out families stay held out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.grace import EXPERIMENT, PRESETS, Config, run
from experiments.grace import context as arms_context
from experiments.grace import measure as measuring
from experiments.grace.adaptive import SOFT, SUFFIX
from experiments.grace.arms import Arm, arms, best_edit, objective, pooler_objective
from experiments.grace.config import ABLATIONS, ARMS
from experiments.grace.context import GraceContext, TrainedModel
from experiments.grace.measure import held_out_states, measure
from experiments.grace.outcomes import REFUSED
from experiments.grace.report import _said
from experiments.grace.results import correlation_over_models, outcome_rate
from steering.grace.attacks import ATTACKS, CHOOSING, HELD_OUT, TRAINED
from steering.grace.guard import PromptGuard
from steering.grace.objectives import PoolerObjective
from tests.tiny import tiny_folder
from workbench.data.items import DataError
from workbench.data.packaged import neutral
from workbench.data.safety import of_split, stand_in
from workbench.evaluation.intervals import Interval
from workbench.evaluation.judges.policy import OUTCOMES, PolicyJudge
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.weights import WeightsError
from workbench.runs.errors import RunError
from workbench.runs.rows import Row, read_rows
from workbench.runs.run import Run

SMALL = replace(
    PRESETS["smoke"], arms=tuple(ARMS), requests=6, triples=9, asked=2, benign=2, neutral=2, max_new_tokens=4, draws=20
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("grace")
    return run(replace(SMALL, model=str(tiny_folder(root)), dtype="float32"), root / "runs")


def test_every_defence_has_every_rate_and_the_page_tells_of_it(finished: Path) -> None:
    rows = read_rows(finished / "results.json")
    found = {(row.method, row.metric, row.concept): row for row in rows}
    for name in ("nothing", *ARMS):
        for side in ("direct", "trained", "choosing", "held_out"):
            shares = [found[name, f"{outcome}.{side}", None].value for outcome in OUTCOMES]
            assert sum(share or 0 for share in shares) == pytest.approx(1)
        assert (name, "compliance", "many_shot") in found
        assert found[name, "neutral.kl", None].value is not None
        assert found[name, "neutral.refused", None].n == 2
        assert found[name, "in_context.accuracy", None].n == 4  # questions: one of each task
    assert found["nothing", "neutral.kl", None].value == 0
    assert (found["sft", "neutral.kl", None].value or 0) > 1e-6
    # What trains no weight answers as the policy alone, and has its own AVQI by the profile that it learnt.
    assert values(rows, "grace_a", "compliance") == values(rows, "nothing", "compliance")
    assert found["grace_a", "paper.profile", None].value is not None
    assert {row.layer for row in rows if row.method == "grace_b" and row.metric == "profile"} <= {0, 1, 2}
    # Each training's checkpoint is the one of least loss on the families of choosing, if it teaches to refuse.
    for name in ("nothing", "sft", "dpo", "grace_b", "latent_adversary"):
        assert [key for key in found if key[0] == name and key[1].startswith("choosing.loss.")], name
    assert not [key for key in found if key[0] == "circuit_breakers" and key[1].startswith("choosing.loss.")]
    page = (finished / "report.html").read_text()
    for text in (
        *ARMS.values(),
        *HELD_OUT,
        "of 2 (loss behind step 1: ",
        "that do more than refuse are masked",
        "Clopper-Pearson",
    ):
        assert text in page


def test_every_index_stands_in_its_own_column(finished: Path) -> None:
    """What a unit stores comes back in the order of its names."""
    page = json.loads((finished / "report.json").read_text())["value"]
    (table,) = (one for part in page["sections"] for one in part["blocks"] if one.get("name") == "indices")
    rows = {(row.method, row.metric): row.value for row in read_rows(finished / "results.json") if row.layer is None}
    names = {"Silhouette": "silhouette", "Calinski-Harabasz": "calinski_harabasz", "Xie-Beni": "xie_beni"}
    labels = {"Policy alone": "nothing"} | {label: name for name, label in ARMS.items()}
    for label, cells in table["rows"]:
        for column, cell in zip(table["columns"], cells, strict=True):
            assert cell == pytest.approx(rows[labels[label], names[column["label"]]])
    assert len(table["rows"]) > 3


def values(rows: list[Row] | tuple[Row, ...], method: str, metric: str) -> dict[str | None, float | None]:
    return {row.concept: row.value for row in rows if (row.method, row.metric) == (method, metric)}


def test_the_same_command_does_nothing_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(**json.loads((finished / "config.json").read_text())["config"])
    before = (finished / "results.json").read_bytes()
    monkeypatch.setattr("experiments.grace.context.train_on_triples", lambda *_: pytest.fail("was trained again"))
    for place in ("experiments.grace.context", "steering.grace.guard"):
        monkeypatch.setattr(f"{place}.prompt_states", lambda *_: pytest.fail("was read again"))
    monkeypatch.setattr("workbench.models.model.Model.generate", lambda *_, **__: pytest.fail("was asked again"))
    assert run(config, finished.parent) == finished
    assert (finished / "results.json").read_bytes() == before


def test_no_training_and_no_choice_sees_a_held_out_family_or_an_evaluation_request(tmp_path: Path) -> None:
    config = replace(SMALL, model=str(tiny_folder(tmp_path)), triples=40, asked=20)
    with Run.open("grace", config, tmp_path / "runs") as opened:
        [[context]] = GraceContext.of(config, opened)
    data, asked = context.triples, {one.prompt for one in of_split(context.requests, "evaluation", allowed=False)}
    worn = {*data.targets[3].classes}
    assert worn == {"direct", *TRAINED}
    assert not any(prompt in item.instruction for item in data.items for prompt in asked)
    attacks, benign = context.choosing
    validation = {one.prompt for one in of_split(context.requests, "validation", allowed=False)}
    assert not {*attacks} & {one.prompt for triples in context.judged.values() for one in triples}
    assert sum(any(prompt in text for prompt in validation) for text in attacks) >= len(attacks) / 2
    assert len(context.judged) == len(ATTACKS)
    plain = {one.prompt for one in of_split(context.requests, "validation", allowed=True)}
    assert [prompt in plain for prompt in benign] == [True, False] * 2  # the first of them are of both kinds
    assert not {*benign} & {one.prompt for kinds in context.benign.values() for one in kinds}
    assert not {*CHOOSING} & worn


def test_as_many_neutral_texts_are_asked_as_the_setting_says() -> None:
    """Those of prose, of which there are 18, come first."""
    found = [len(measuring._neutral_texts(n)) for n in (3, Config().neutral, 36)]
    assert found == [3, 24, 36]
    genres = {item.response: item.genre for item, _ in neutral()}
    assert [genres[text] for text in measuring._neutral_texts(20)] == ["text"] * 18 + ["code"] * 2


def test_general_texts_are_the_answers_of_the_model_before_the_policy_and_of_no_evaluation(tmp_path: Path) -> None:
    config = replace(SMALL, model=str(tiny_folder(tmp_path)), dtype="float32", seeds=(0, 1))
    with Run.open("grace", config, tmp_path / "runs") as opened:
        [contexts] = GraceContext.of(config, opened)
    assert contexts[0].general == contexts[1].general != ()
    data = contexts[0].triples_and_general
    texts = [data.items[row] for row in data.relation("general").role("answer")]
    asked = {item.instruction for item, split in neutral() if split == "train"}
    seen = {text for item, split in neutral() if split != "train" for text in (item.instruction, item.response)}
    assert {text.instruction for text in texts} <= asked
    assert not seen & {part for text in texts for part in (text.instruction, text.response)}
    written = contexts[0].model.generate([texts[0].instruction], sampling=Sampling(48), chat=True)[0].text
    assert texts[0].response == written.strip()
    assert "general" not in {relation.name for relation in contexts[0].triples.relations}


def test_rates_have_exact_intervals_of_one_family_and_draw_requests_of_several_and_seeds() -> None:
    one = outcome_rate([[np.array([1.0, 0, 0, 0])]])
    assert (one.value, one.n) == (0.25, 4)
    assert (one.low, one.high) == pytest.approx((0.0063, 0.8059), abs=1e-4)
    families = [np.array([1.0, 0, 0, 1]), np.array([1.0, 0, 1, 1])]
    several = outcome_rate([families])
    assert (several.value, several.n) == (0.625, 4)
    assert several.low is not None
    assert several.low < 0.625
    assert outcome_rate([[np.zeros(20)]]).high == pytest.approx(1 - 0.025 ** (1 / 20))
    # Trainings that differ make it wider, equal ones do not.
    requests = np.tile([0.0, 1.0], 10)
    alike = outcome_rate([[requests]] * 3)
    apart = outcome_rate([[requests], [np.zeros(20)], [np.ones(20)]])
    assert alike.value == apart.value == 0.5
    assert width(alike) == pytest.approx(width(outcome_rate([[requests, requests]])))
    assert width(apart) > 1.5 * width(alike)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_whatever_it_is_judged_to_be_an_answer_that_does_more_than_refuse_is_masked(outcome: str) -> None:
    answer = "Unfortunately, smell the base"
    assert _said(outcome, answer, "cipher", PolicyJudge(), show=False) == f"[{outcome}] (masked, 4 words)"
    assert _said(outcome, answer, "cipher", PolicyJudge(), show=True) == f"[{outcome}] {answer}"
    assert _said(outcome, answer, "plain", PolicyJudge(), show=False) == f"[{outcome}] {answer}"
    assert _said(outcome, REFUSED, "cipher", PolicyJudge(), show=False) == f"[{outcome}] {REFUSED}"


def width(found: Interval) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


@pytest.mark.parametrize(("best", "chosen"), [(None, "gentle"), ("strong", "strong"), ("odd", "odd")])
def test_the_edit_that_refuses_what_it_should_is_chosen_and_of_equal_ones_the_gentlest(
    best: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, asked = ("gentle", "odd", "strong", "stronger"), list[tuple[str, int]]()
    sides = [[f"{side} {k}" for k in range(20)] for side in ("no", "yes")]

    def refusals(_: Any, edit: Any, prompts: list[str], __: Any) -> list[bool]:
        asked.append((edit, len(prompts)))
        return [prompt.startswith("no") and edit == best for prompt in prompts]

    monkeypatch.setattr("experiments.grace.arms._refusals", refusals)
    assert best_edit(None, {name: name for name in names}, sides, PolicyJudge()) == chosen  # type: ignore[arg-type]
    seen = {name: sum(n for edit, n in asked if edit == name) for name in names}
    assert seen[chosen] == 32  # sixteen of each side
    assert sorted(seen.values()) == [8, 32, 32, 32]


def test_the_rank_correlation_of_an_index_has_an_interval_from_eight_models_on() -> None:
    pairs = [(float(k), float(k)) for k in range(7)]
    assert (correlation_over_models(pairs).value, correlation_over_models(pairs).low) == (pytest.approx(1), None)
    assert correlation_over_models(pairs).note == "no interval below 8 models"
    assert (
        correlation_over_models([(float(k), float(k)) for k in range(10)]).note
        == "no interval where all models rank alike"
    )
    found = correlation_over_models([*pairs, (7.0, 0.5), (8.0, 9.0)])
    assert found.n == 9
    assert found.value == pytest.approx(0.65, abs=1e-9)  # 1 - 6 * 42 / (9 * 80)
    assert found.low is not None
    assert found.low < 0.65 < (found.high or 0) < 1
    assert correlation_over_models([(1.0, 0.0)] * 9).value is None


def test_each_ablation_leaves_out_what_it_says(tmp_path: Path) -> None:
    config = replace(SMALL, model=str(tiny_folder(tmp_path)), dtype="float32", seeds=(0, 1))
    with Run.open("grace", config, tmp_path / "runs") as opened:
        [contexts] = GraceContext.of(config, opened)
        found = {name: [objective(context, name) for context in contexts] for name in ("grace_b", *ABLATIONS)}
    whole = found.pop("grace_b")
    changed = {
        name: {field.name for field in fields(each[0]) if getattr(each[0], field.name) != getattr(whole[0], field.name)}
        for name, each in found.items()
    }
    assert changed.pop("grace_b_random_layers") <= {"site", "observes", "shapes", "sites"}
    for default, moved in zip(whole, found["grace_b_random_layers"], strict=True):
        assert moved.observes == tuple(site for site in default.observes if site.layer >= moved.site.layer)
    assert list(changed.values()) == [{"preferring"}, {"separating"}, {"drawing"}, {"frozen_profile"}]
    assert [each.recipe.seed for each in whole] == [0, 1]
    assert len({each.triples.digest for each in contexts}) == 2  # another seed trains on other attacks
    assert contexts[0].judged == contexts[1].judged  # and is asked the same
    assert contexts[0].benign == contexts[1].benign


def test_states_are_read_anew_where_other_completions_belong_to_the_same_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "ask", lambda *_: {})
    monkeypatch.setattr(measuring, "_in_context", lambda _, shown: [1.0] * len(shown))
    read: list[GraceContext] = []
    apart = {"separation": {}, "layers": {}, "indices": {}}
    monkeypatch.setattr(measuring, "_separation", lambda context, _: read.append(context) or apart)
    others = tuple(replace(one, answer=f"{one.answer} Yes.") for one in stand_in())
    for kept in (stand_in(), stand_in(), others):
        monkeypatch.setattr(arms_context, "requests_of", lambda _, kept=kept: kept)
        with one_context(tmp_path) as context:
            measure(context, Arm("nothing", context.model), None, None)
    assert [context.requests == others for context in read] == [False, True]


@contextmanager
def one_context(root: Path, **settings: Any) -> Iterator[GraceContext]:
    """With the model in the place of its policy, so that nothing is trained to teach one."""
    config = replace(SMALL, model=str(tiny_folder(root)), dtype="float32", **settings)
    with Run.open("grace", config, root / "runs") as opened:
        [[context]] = GraceContext.of(config, opened)
        facts = {"choosing": [], "seconds": 0.0, "parameters": 0, "profile": [], "stopped": None, "steps": 0}
        context.__dict__["taught"] = TrainedModel(context.model, facts)
        yield context


def test_what_a_guard_refuses_is_answered_wrong_and_neutral_texts_that_it_refuses_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.grace.measure.ask", lambda *_: {})
    monkeypatch.setattr("experiments.grace.measure._in_context", lambda _, shown: [1.0] * len(shown))
    with one_context(tmp_path) as context:
        for bias, refused in ((1.0, 1.0), (-1.0, 0.0)):
            guard = PromptGuard(Site(1), torch.zeros(context.model.d_model), bias)
            found = measure(context, Arm("probe", context.model, guard=guard), None, None)
            assert found.neutral_refused == [refused] * 2
            assert found.in_context == [1 - refused] * 4


def test_states_of_one_model_are_read_once_for_the_policy_and_the_pooler_and_prompts_once_for_all_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, states, read = [], measuring.pooled_states, arms_context.prompt_states
    monkeypatch.setattr(measuring, "pooled_states", lambda *given: (calls.append("states"), states(*given))[1])
    monkeypatch.setattr(arms_context, "prompt_states", lambda *given: (calls.append("prompts"), read(*given))[1])
    with one_context(tmp_path, arms=("direction", "capping", "probe"), asked=1) as context:
        policy, direction, capping, _ = arms(context)
        assert calls == ["prompts"] * 4  # forbidden and allowed ones, of training and of choosing
        calls.clear()
        for arm in (policy, Arm("grace_a", context.policy), direction, policy, capping):
            held_out_states(context, arm)
        assert calls == ["states"] * 3


def test_the_pooler_takes_its_share_of_epochs_and_a_loss_that_is_not_finite_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = PoolerObjective.of_items
    monkeypatch.setattr(PoolerObjective, "of_items", lambda *given: loss(*given) * torch.nan)
    with one_context(tmp_path, epochs=2, arms=("grace_a",)) as context:
        assert pooler_objective(context).recipe.epochs == 6
        with pytest.raises(RunError, match=r"PoolerObjective on 'triples': diverged at step 1"):
            arms(context)


@pytest.fixture(scope="module")
def with_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, ablations, and attacks that know the defence, all of them small."""
    root = tmp_path_factory.mktemp("paper")
    config = replace(
        PRESETS["paper"],
        arms=("grace_b_frozen_profile", "direction", "probe"),
        **{name: getattr(SMALL, name) for name in ("requests", "triples", "benign", "neutral", "draws")},
        asked=1,
        max_new_tokens=4,
        seeds=(0, 1),
        adaptive=1,
        steered=0,
        policy_epochs=1,
        dtype="float32",
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("experiments.grace.adaptive.SUFFIX", replace(SUFFIX, steps=2, candidates=4))
        patched.setattr("experiments.grace.adaptive.SOFT", replace(SOFT, steps=2))
        return run(replace(config, model=str(tiny_folder(root))), root / "runs")


def test_seeds_ablations_and_attacks_that_know_the_defence_are_on_the_page(with_seeds: Path) -> None:
    rows = read_rows(with_seeds / "results.json")
    for name in ("nothing", "grace_b_frozen_profile", "direction", "probe"):
        shares = [row.n for row in rows if (row.method, row.metric) == (name, "compliance") and row.concept == "suffix"]
        assert shares == [1]
        if name != "nothing":
            assert {row.seed for row in rows if (row.method, row.metric) == (name, "cost.cpu_seconds")} == {0, 1}
    assert not any(row.metric == "profile" for row in rows)  # it is frozen
    page = (with_seeds / "report.html").read_text()
    for text in (ABLATIONS["grace_b_frozen_profile"], "Latent", "Does AVQI follow attack success?"):
        assert text in page


def test_an_arm_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"there is no arm 'dop' \(did you mean 'dpo'\?\)"):
        Config(arms=("dop",))
    assert EXPERIMENT.summary.startswith("Which defence")


def test_more_than_there_are_is_refused_where_it_is_looked_up() -> None:
    with pytest.raises(DataError, match="steered is 31, and there are 30"):
        replace(SMALL, steered=31).look_up()
    with pytest.raises(DataError, match="asked is 70, and there are 60"):
        replace(SMALL, asked=70).look_up()
    with pytest.raises(DataError, match="neutral is 37, and there are 36"):
        replace(SMALL, neutral=37).look_up()
    with pytest.raises(ValueError, match=r"seeds \(0, 0\) name one twice"):
        replace(SMALL, seeds=(0, 0))
    with pytest.raises(ValueError, match=r"models \(.*\) name one twice"):
        replace(SMALL, models=(SMALL.model,))


def test_a_further_model_that_is_not_there_ends_a_run_before_any_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Config, "load_model", lambda _: pytest.fail("a model was loaded"))
    with pytest.raises(WeightsError, match="missing"):
        run(replace(SMALL, models=(str(tmp_path / "missing"),)), tmp_path)


def test_defences_of_further_models_count_where_the_index_is_compared_with_success(tmp_path: Path) -> None:
    own, other = str(tiny_folder(tmp_path / "own")), str(tiny_folder(tmp_path / "other", family="gemma3"))
    small = {name: getattr(SMALL, name) for name in ("requests", "triples", "asked", "benign", "neutral", "draws")}
    config = Config(**small, model=own, models=(other,), arms=("sft", "probe"), max_new_tokens=2, dtype="float32")
    folder = run(config, tmp_path / "runs")
    rows = {(row.method, row.metric): row for row in read_rows(folder / "results.json") if row.concept is None}
    assert rows["avqi", "spearman.paper"].n == 4  # the policies and SFT; a probe has no states of its own
    for name in ("nothing", "sft", "probe"):
        assert rows[f"{name} on {other}", "neutral.loss"].value != rows[name, "neutral.loss"].value
    alone = run(replace(config, model=other, models=()), tmp_path / "runs")
    for row in read_rows(alone / "results.json"):
        if row.method == "sft" and row.concept is None and not row.metric.startswith("cost."):
            assert row.layer is not None or rows[f"sft on {other}", row.metric].value == row.value
    assert "The same on further models" in (folder / "report.html").read_text()
