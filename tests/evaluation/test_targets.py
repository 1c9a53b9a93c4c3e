"""Metrics of targets of every kind equal scikit-learn's and SciPy's, and their intervals move whole texts."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, mean_squared_error, roc_auc_score

from workbench.data.items import Kind, Target
from workbench.data.labelled import Samples
from workbench.evaluation.count_statistics import correlation, explained, mean_recall, weighted_mean
from workbench.evaluation.intervals import Interval
from workbench.evaluation.metrics import MetricError
from workbench.evaluation.targets import evaluate

N = 40


def samples(kind: Kind, y: torch.Tensor, group: torch.Tensor | None = None) -> Samples:
    classes = ("a", "b", "c") if kind in ("class", "token") else ()
    row = torch.arange(len(y))
    return Samples(
        Target("t", "t", kind=kind, classes=classes), torch.zeros(len(y), 2), y, row, row if group is None else group
    )


def value(interval: Interval) -> float:
    assert interval.value is not None
    return interval.value


def repeated(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draws, and for each the items it has."""
    count = rng.multinomial(N, [1 / N] * N, size=5).astype(float)
    return count, [np.arange(N).repeat(draw.astype(int)) for draw in count]


def test_statistics_equal_scikit_learn_and_scipy_on_repeated_items(rng: np.random.Generator) -> None:
    y = rng.integers(0, 3, size=N)
    y[y == 2] = np.where(np.arange((y == 2).sum()) == 0, 2, 1)  # one item of the last class: some draws miss it
    logits = rng.normal(size=(N, 3)) + np.eye(3)[y]
    right, a, b = logits.argmax(1) == y, rng.normal(size=N) + 100, rng.normal(size=N)
    b += a
    count, drawn = repeated(rng)
    assert 0 < sum(2 in y[items] for items in drawn) < 5
    expected = {
        "accuracy": [accuracy_score(y[items], logits[items].argmax(1)) for items in drawn],
        "recall": [np.mean([right[items][y[items] == k].mean() for k in np.unique(y[items])]) for items in drawn],
        "r2": [1 - mean_squared_error(b[items], a[items]) / np.square(b[items] - 99).mean() for items in drawn],
        "pearson": [pearsonr(a[items], b[items])[0] for items in drawn],
    }
    found = {
        "accuracy": weighted_mean(right.astype(float)),
        "recall": mean_recall(right, y),
        "r2": explained(a, b, 99.0),
        "pearson": correlation(a, b),
    }
    for name, statistic in found.items():
        np.testing.assert_allclose(statistic(count), expected[name], rtol=1e-10)


def test_values_of_each_kind_equal_scikit_learn(rng: np.random.Generator) -> None:
    y, logits = rng.integers(0, 3, size=N), rng.normal(size=(N, 3))
    for kind in ("class", "token"):
        found = evaluate(samples(kind, torch.from_numpy(y)), torch.from_numpy(logits), draws=10)
        assert value(found["accuracy"]) == pytest.approx(accuracy_score(y, logits.argmax(1)))
        assert value(found["balanced_accuracy"]) == pytest.approx(balanced_accuracy_score(y, logits.argmax(1)))
        chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert value(found["log_loss"]) == pytest.approx(log_loss(y, chance, labels=[0, 1, 2]))
    label, score = y > 0, logits[:, :1].round(1)
    found = evaluate(samples("binary", torch.from_numpy(label)), torch.from_numpy(score), draws=10)
    assert value(found["balanced_accuracy"]) == pytest.approx(balanced_accuracy_score(label, score[:, 0] > 0))
    assert value(found["auroc"]) == pytest.approx(roc_auc_score(label, score[:, 0]))
    number = samples("number", torch.from_numpy(logits[:, 1]))
    found = evaluate(number, torch.from_numpy(score), train_mean=0.5, draws=10)
    assert value(found["pearson"]) == pytest.approx(pearsonr(logits[:, 1], score[:, 0])[0])
    assert value(evaluate(number, torch.full((N, 1), 0.5), train_mean=0.5, draws=10)["r2"]) == 0


def test_tokens_of_a_text_are_drawn_together(rng: np.random.Generator) -> None:
    """All tokens of a text are right or all wrong, so the interval must be that of the texts, not of the tokens."""
    right = np.arange(30) < 20
    scores = torch.from_numpy(np.eye(3)[np.where(right, 0, 1)])
    y, text = torch.zeros(30, dtype=torch.long), torch.arange(30)
    alone = evaluate(samples("token", y), scores)["accuracy"]
    many = evaluate(samples("token", y.repeat(50), text.repeat(50)), scores.repeat(50, 1))["accuracy"]
    assert many.n == alone.n == 30
    assert many == alone


def test_what_does_not_vary_has_no_correlation_and_no_interval() -> None:
    number = samples("number", torch.arange(6.0, dtype=torch.float64))
    found = evaluate(number, torch.full((6, 1), 0.1), train_mean=2.5, draws=10)["pearson"]
    assert (found.value, found.low, found.high) == (None, None, None)
    assert str(found) == "missing"


def test_scores_that_do_not_fit_are_refused() -> None:
    topic = samples("class", torch.tensor([0, 1, 2]))
    with pytest.raises(MetricError, match=r"scores for 't' have shape \(3, 2\); expected \(3, 3\), a row a state"):
        evaluate(topic, torch.zeros(3, 2))
    with pytest.raises(MetricError, match="values that are not finite"):
        evaluate(topic, torch.full((3, 3), torch.nan))
    with pytest.raises(MetricError, match="all 3 states for 't' are of one class"):
        evaluate(samples("binary", torch.ones(3, dtype=torch.bool)), torch.zeros(3, 1))
    with pytest.raises(MetricError, match="give it as `train_mean`"):
        evaluate(samples("number", torch.zeros(3, dtype=torch.float64)), torch.zeros(3, 1))
