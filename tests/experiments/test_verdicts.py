"""The first sentence of each report, and the banner, from planted rows."""

from dataclasses import replace
from typing import Any

import pytest

from experiments.axbench.config import PRESETS as AXBENCH
from experiments.erasure.verdict import verdict as of_erasure
from experiments.function_vectors.evaluation import CONTROLS
from experiments.function_vectors.verdict import verdict as of_heads
from experiments.layer_sweep.verdict import verdict as of_layers
from experiments.linear_hypothesis.verdict import verdict as of_hypothesis
from experiments.linear_origins.config import PRESETS as ORIGINS
from experiments.linear_origins.verdict import verdict as of_origins
from experiments.sae.concept_sections import _spelling_verdict
from experiments.sae.spelling import FirstLetters
from experiments.smoke import BANNER, smoke_banner
from workbench.runs.rows import Row


def row(method: str, metric: str, value: float | None, half: float | None = None, **more: Any) -> Row:
    ends = {} if half is None or value is None else {"low": value - half, "high": value + half}
    return Row(experiment="e", method=method, metric=metric, value=value, **ends, **more)


ERASED = (
    row("none", "fresh", 0.9, 0.05, n=10),
    row("leace", "fresh", 0.55, 0.05, n=10),
    row("inlp", "fresh", 0.6, 0.05),
)


def test_erasure_says_who_leaves_least_and_at_what_price() -> None:
    price = row("leace", "kl.neutral", 0.02, 0.01), row("leace", "random.kl.neutral", 0.01, 0.005)
    assert of_erasure([*ERASED, *price]) == (
        "LEACE leaves least of a concept: a linear probe trained on fresh texts then has an accuracy of 0.55 [0.50, "
        "0.60], where it has 0.90 [0.85, 0.95] with nothing erased and 0.5 by chance, and texts without the concept "
        "move by a KL of 0.020 [0.010, 0.030], where as many random directions move them by 0.010 [0.005, 0.015]; over "
        "10 concepts."
    )


def test_erasure_claims_nothing_where_intervals_meet() -> None:
    near = row("leace", "fresh", 0.8, 0.06)
    assert of_erasure([ERASED[0], near]).startswith("No method is shown to erase: with LEACE, which leaves least,")
    assert of_erasure([row("leace", "fresh", 0.5, concept="sea")]) == ""


def swept(method: str, accuracy: dict[int, float], loss: dict[int, float], dataset: str = "facts") -> list[Row]:
    concept = f"{dataset}/true"
    return [row(method, "accuracy", value, concept=concept, layer=layer) for layer, value in accuracy.items()] + [
        row(method, "validation_loss", value, concept=concept, layer=layer) for layer, value in loss.items()
    ]


def test_layers_are_those_that_validation_chooses_and_baselines_stand_beside() -> None:
    rows = swept("m/mean", {-1: 0.6, 3: 0.8, 7: 0.99}, {-1: 0.7, 3: 0.2, 7: 0.4})
    assert of_layers(rows, ("m",), "mean") == (
        "Mean balanced accuracy at each dataset's best layer: 0.80 over 1 column of labels in m, against 0.60 at the "
        "embeddings: 0.20 more than this baseline."
    )
    rows += swept("m, random weights/mean", {-1: 0.5, 3: 0.85}, {-1: 0.7, 3: 0.3})
    assert of_layers(rows, ("m",), "mean").endswith(
        "against 0.60 at the embeddings and 0.85 with random weights: no more than the better baseline."
    )
    assert of_layers(rows, ("other",), "mean") == ""


def test_a_few_heads_carry_a_task_where_every_control_does_less() -> None:
    top1 = [row(way, "zero_shot.top1", 0.5, 0.1, n=10) for way in ("none", "function_vector", "layer_replaced")]
    beyond = [row(way, "zero_shot.top1.beyond", 0.2, 0.1, n=10) for way in ("none", *CONTROLS)]
    assert of_heads([*top1, *beyond]) == (
        "A few heads carry a task: with what they write added, top-1 without demonstrations is 0.50 [0.40, 0.60], "
        "where it is 0.50 [0.40, 0.60] with nothing added and 0.50 [0.40, 0.60] with the layer's average put in place; "
        "more than with any control, paired over 10 tasks."
    )
    no_interval = row(CONTROLS[0], "zero_shot.top1.beyond", 0.2, n=5)
    said = of_heads([*top1, *beyond[:1], no_interval, *beyond[2:]])
    assert said.startswith("A few heads are not shown to carry a task")
    assert "not shown to be more than with “Random vector of equal length”, paired" in said
    assert of_heads([]) == ""


def test_the_hypothesis_is_judged_test_by_test() -> None:
    rows = [row("causal", "subspace.auroc", value, concept=f"c{i}") for i, value in enumerate((0.8, 0.95, 1.0))]
    rows += [row("causal", "angles.unrelated", 0.1, 0.02), row("euclidean", "angles.unrelated", 0.11, 0.02)]
    rows += [row("causal", "reading.auroc", 0.9, concept="c0"), row("random", "reading.auroc", 0.7, concept="c0")]
    assert of_hypothesis(rows) == (
        "Concepts are directions by 2 of 3 tests: the direction of its other pairs tells a concept's pair from random "
        "pairs with a median AUROC of 0.95 over 3 concepts; unrelated concepts are not shown to be nearer to right "
        "angles under the causal than under the Euclidean product, with a mean |cos| of 0.10 [0.08, 0.12] against 0.11 "
        "[0.09, 0.13]; the own direction tells contexts apart better than random directions do in 1 of 1 set."
    )
    assert of_hypothesis(rows[:3]).startswith("Concepts are directions by 1 of 1 test: ")
    assert of_hypothesis([]) == ""


def test_origins_count_the_settings_that_became_linear() -> None:
    rows = []
    for name, cosine in (("a", 0.99), ("b", 0.5)):
        rows.append(row(name, "converged", 0.75, n=4))
        rows += [row(name, metric, cosine) for metric in ("unembed.within", "embed.within")]
    assert of_origins(rows) == (
        "Prediction alone makes concepts linear in 1 of 2 settings with converged seeds (6 of 8): matched pairs of one "
        "concept have a mean cosine of 0.50 to 0.99 in the unembedding and 0.50 to 0.99 in the embedding, where 1 is "
        "one direction and 0.9 counts as linear."
    )
    stuck = [row("a", "converged", 0.0, n=4), row("a", "unembed.within", None)]
    assert of_origins(stuck) == "None of 4 seeds converged: nothing can be said."


@pytest.mark.parametrize("presets", [AXBENCH, ORIGINS])
def test_only_smoke_runs_have_a_banner(presets: Any) -> None:
    assert smoke_banner(presets["smoke"], presets) == BANNER
    assert all(smoke_banner(config, presets) == "" for name, config in presets.items() if name != "smoke")


def test_another_model_makes_a_smoke_run_no_larger_and_more_concepts_do() -> None:
    assert smoke_banner(replace(AXBENCH["smoke"], model="other", dtype="float32"), AXBENCH) == BANNER
    assert smoke_banner(replace(AXBENCH["smoke"], limit=30), AXBENCH) == ""


def test_absorption_says_whether_the_probe_or_the_dictionary_tells_nothing() -> None:
    letter = {"f1": 0.5, "probe_f1": 0.75, "told": 10, "missed": 4, "absorbed": 1, "main": 2}
    silent = letter | {"f1": 0.0, "missed": 0, "absorbed": 0, "main": 0}
    none = silent | {"probe_f1": 0.0, "told": 0}
    read = FirstLetters("one", ["a", "b"], [letter, silent])
    assert _spelling_verdict(read).startswith("one: of the words")
    assert _spelling_verdict(replace(read, found=[silent, none])) == (
        "No latent of one stands for a first letter that the probe tells, so that none can be absorbed."
    )
    assert _spelling_verdict(replace(read, found=[none, none])).startswith("The probe tells no first letter here")
