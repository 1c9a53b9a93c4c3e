"""Targets of every kind: planted truth found, shuffled values at chance, equality with scikit-learn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from probes.methods.target_probe import TargetProbe
from tests.planted import D, truth
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.linear_readout import LinearReadout
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, Split, Target
from workbench.data.states import States
from workbench.evaluation.targets import evaluate
from workbench.models.activations import Activations
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site

N, TOKENS = 300, 3
TOPIC = Target("topic", "one of five", kind="class", classes=("a", "b", "c", "d", "e"))
SIZE = Target("size", "a number", kind="number")
LABEL = Target("label", "a label")
NAMES = ("topic", "size", "label")


def planted(seed: int = 0, *, shuffled: bool = False) -> States:
    """Texts of three tokens of unit noise and a shift along the truth of their class, number and label."""
    rng = np.random.default_rng(seed)
    topic, size, label = rng.integers(0, 5, N), 10 + 3 * rng.normal(size=N), rng.integers(0, 2, N).astype(np.int8)
    directions = torch.stack([truth(k) for k in range(7)]).double().numpy()
    text = 4 * directions[topic] + (size[:, None] - 10) * directions[5] + 4 * label[:, None] * directions[6]
    x = np.repeat(text, TOKENS, axis=0) + rng.normal(size=(N * TOKENS, D))
    if shuffled:
        topic, size, label = (rng.permutation(column) for column in (topic, size, label))
    row = torch.arange(N).repeat_interleave(TOKENS)
    split = np.array(["train", "validation", "evaluation"])[np.arange(N) * 3 // N]
    items = tuple(Item.bare(f"text {k}") for k in range(N))
    data = Dataset("planted", items, (TOPIC, SIZE, LABEL), (topic, size, label), split)
    return States(data, Activations({Site(1): torch.from_numpy(x).float()}, row, N), ReadSpec((Site(1),)), "tiny", "0")


def judged(
    states: States, target: str, found: LinearReadout, split: Split = "evaluation", level: float = 0.95
) -> dict[str, Any]:
    held = states.samples(target, split)
    mean = float(states.samples(target, "train").y.double().mean()) if target == "size" else None
    return evaluate(held, found.scores(held.x), train_mean=mean, draws=500, level=level)


@pytest.mark.parametrize("pooled", [False, True])
def test_planted_targets_are_read(pooled: bool) -> None:
    states = planted().at(ReadSpec((Site(1),), pool="mean")) if pooled else planted()
    found = {name: judged(states, name, TargetProbe().fit(states, name)) for name in NAMES}
    assert found["topic"]["accuracy"].low > 0.8
    assert found["topic"]["balanced_accuracy"].low > 0.8
    assert found["label"]["auroc"].low > 0.9
    assert found["label"]["balanced_accuracy"].low > 0.8
    assert found["size"]["r2"].low > 0.7
    assert found["size"]["pearson"].low > 0.8
    assert {interval.n for metrics in found.values() for interval in metrics.values()} == {N // 3}


def test_the_weights_lie_along_the_planted_directions() -> None:
    states = planted()
    size = TargetProbe().fit(states, "size")
    assert float(torch.cosine_similarity(size.weight[:, 0], truth(5), dim=0)) > 0.95
    topic = TargetProbe().fit(states, "topic")
    planes = torch.stack([truth(k) for k in range(5)], 1)
    planes = planes - planes.mean(1, keepdim=True)
    assert float(torch.cosine_similarity(topic.weight, planes, dim=0).min()) > 0.8


def test_shuffled_values_are_read_at_chance() -> None:
    states = planted(shuffled=True)
    found = {name: judged(states, name, TargetProbe().fit(states, name), level=0.999) for name in NAMES}
    for name, metric, chance in (("topic", "balanced_accuracy", 0.2), ("label", "auroc", 0.5)):
        assert found[name][metric].low < chance < found[name][metric].high
    assert found["size"]["r2"].low < 0.02


def test_classes_equal_scikit_learn_on_standardised_balanced_features() -> None:
    states, C = planted(), 0.1
    train = states.samples("topic", "train")
    found = TargetProbe(Cs=(C,)).fit(states, "topic")
    # The solver standardises by the weighted, unbiased variance; scikit-learn gets the same features.
    weight = np.full(len(train.y), len(train.y) / 5) / np.bincount(train.y.numpy())[train.y.numpy()]
    x = train.x.double().numpy()
    mean = np.average(x, axis=0, weights=weight)
    variance = np.average((x - mean) ** 2, axis=0, weights=weight) / (1 - (weight**2).sum() / weight.sum() ** 2)
    z = (x - mean) / np.sqrt(variance)
    model = LogisticRegression(C=C, class_weight="balanced", solver="newton-cholesky", tol=1e-10, max_iter=1000)
    expected = model.fit(z, train.y.numpy()).decision_function(z)
    # float32 against float64: the objectives agree to 1e-6, flat directions of the logits to a percent
    np.testing.assert_allclose(found.scores(train.x).numpy(), expected - expected.mean(1, keepdims=True), atol=0.02)
    assert (found.predict(train.x).numpy() == expected.argmax(1)).mean() > 0.995


def test_numbers_equal_scikit_learns_ridge() -> None:
    states, penalty = planted(), 0.1
    train, test = (states.samples("size", split) for split in ("train", "evaluation"))
    scaler = StandardScaler().fit(train.x.double().numpy())
    reference = Ridge(alpha=penalty * len(train.y)).fit(scaler.transform(train.x.double().numpy()), train.y.numpy())
    found = TargetProbe(lambdas=(penalty,)).fit(states, "size").predict(test.x)
    np.testing.assert_allclose(found.numpy(), reference.predict(scaler.transform(test.x.double().numpy())), rtol=1e-4)


def test_the_penalty_with_the_lowest_validation_loss_is_chosen() -> None:
    states = planted()
    for name, metric, sign in (("topic", "log_loss", 1), ("size", "r2", -1)):
        grid = TargetProbe()._grid(states.dataset.targets[states.dataset.index(name)].kind)
        alone = [TargetProbe(Cs=(one,), lambdas=(one,)).fit(states, name) for one in grid]
        losses = [sign * judged(states, name, each, "validation")[metric].value for each in alone]
        chosen = TargetProbe().fit(states, name)
        best = alone[int(np.argmin(losses))]
        torch.testing.assert_close(chosen.weight, best.weight, rtol=1e-2, atol=1e-2)
        assert len({round(loss, 3) for loss in losses}) > 2


def marked(count: int, seed: int) -> list[tuple[str, np.ndarray]]:
    """Texts of digits, letters and spaces, and the class of every character."""
    rng = np.random.default_rng(seed)
    texts = {"".join(rng.choice(list("0123456789abcdefgh "), size=12)).strip() for _ in range(count)}
    kinds = [(text, np.array([-1 if c == " " else int(c.isalpha()) for c in text])) for text in sorted(texts)]
    return kinds


def test_a_class_a_token_is_read_through_a_models_own_tokens(llama: Model) -> None:
    made = marked(60, 0)
    mark = Target("mark", "digit or letter", kind="token", classes=("digit", "letter"))
    column = np.empty(len(made), dtype=object)
    column[:] = [kinds for _, kinds in made]
    items = tuple(Item.exchange("Spell.", text) for text, _ in made)
    split = np.array(["train", "validation", "evaluation"])[np.arange(len(made)) * 3 // len(made)]
    states = States.read(Dataset("marks", items, (mark,), (column,), split), llama, Site(0))
    train = states.samples("mark", "train")
    assert len(train.y) == sum((kinds >= 0).sum() for _, kinds in made[: len(made) // 3])
    found = judged(states, "mark", TargetProbe().fit(states, "mark"))
    assert found["accuracy"].low > 0.9
    assert found["accuracy"].n == len(made) - 2 * len(made) // 3


def test_saved_and_loaded_it_reads_the_same_and_says_where_it_is_from(tmp_path: Path) -> None:
    states = planted()
    for about in states.dataset.targets:
        name, found = about.name, TargetProbe().fit(states, about.name)
        again = Artifact.load(found.save(tmp_path / f"{name}.safetensors"))
        assert isinstance(again, LinearReadout)
        assert again.digest == found.digest == TargetProbe().fit(planted(), name).digest
        assert torch.equal(again.predict(states.x), found.predict(states.x))
        assert (again.origin.concept, again.origin.method) == (name, "TargetProbe")
        assert (again.target, again.classes) == (about.kind, about.classes)
        assert found.origin.data != TargetProbe().fit(planted(1), name).origin.data
        kinds = {"class": torch.int64, "number": torch.float32, "binary": torch.bool}
        assert found.predict(states.x).dtype == kinds[about.kind]


def test_numbers_that_are_missing_are_left_out() -> None:
    states = planted()
    size = states.dataset.column("size").copy()
    size[:50] = np.nan
    columns = (states.dataset.columns[0], size, states.dataset.columns[2])
    gaps = replace(states, dataset=replace(states.dataset, columns=columns))
    assert len(gaps.samples("size", "train").y) == 50 * TOKENS
    assert judged(gaps, "size", TargetProbe().fit(gaps, "size"))["r2"].value > 0.7


def changed(column: int, values: np.ndarray) -> States:
    states = planted()
    columns = [*states.dataset.columns]
    columns[column] = values
    return replace(states, dataset=replace(states.dataset, columns=tuple(columns)))


def test_what_cannot_be_fitted_is_named() -> None:
    states = planted()
    with pytest.raises(DataError, match=r"'topic' is of kind class, .* fit a TargetProbe"):
        _ = states["topic"]
    topic = states.dataset.column("topic").copy()
    topic[np.arange(N) < N // 3] %= 4
    with pytest.raises(DataError, match="'topic' has no training item of class 'e'"):
        TargetProbe().fit(changed(0, topic), "topic")
    topic = np.where(np.arange(N) < N // 3, topic, -1)
    with pytest.raises(DataError, match="'topic' has no items in split 'validation'"):
        TargetProbe().fit(changed(0, np.where(topic == -1, -1, np.arange(N) % 5)), "topic")
    alone = states.dataset.part("train")
    alone = States(alone, states.activations.select(np.arange(len(alone))), states.spec)
    with pytest.raises(DataError, match="'size' has no validation split, on which one of 5 penalties is chosen"):
        TargetProbe().fit(alone, "size")
    assert TargetProbe(lambdas=(0.1,)).fit(alone, "size").target == "number"
    with pytest.raises(ValueError, match=r"lambdas is \(\); expected one or more"):
        TargetProbe(lambdas=())
