import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probes.controls.labels import (
    hash_labels,
    last_word,
    over_concepts,
    selectivity,
    shuffled_labels,
    type_labels,
    with_controls,
)
from workbench.evaluation.intervals import bootstrap

N, TYPES, CONTEXTS, K = 3000, 40, 10, 3


def tokens(seed: int = 0):
    """Types and contexts drawn apart; the task is a function of the context alone, half of them positive."""
    generator = torch.Generator().manual_seed(seed)
    types = torch.randint(TYPES, (N,), generator=generator)
    contexts = torch.randint(CONTEXTS, (N,), generator=generator)
    meaning = torch.stack([torch.randperm(CONTEXTS, generator=generator) < CONTEXTS // 2 for _ in range(K)], 1)
    return types, contexts, meaning[contexts].float(), torch.ones(N, K), torch.arange(N) < N // 2


def one_hot(ids: torch.Tensor) -> torch.Tensor:
    noise = torch.randn(N, int(ids.max()) + 1, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.one_hot(ids).float() + 0.05 * noise


def accuracies(right: np.ndarray) -> list[float]:
    return np.nanmean(right, axis=0).tolist()


def test_states_that_know_types_only_have_negative_selectivity():
    types, _, y, use, train = tokens()
    x, control = one_hot(types), type_labels(types, y, use)
    found = with_controls(x, y, use, train, torch.full((TYPES, K), 1.0), {"type": control})
    assert min(accuracies(found.control["type"])) > 0.99
    assert max(abs(value - 0.5) for value in accuracies(found.task)) < 0.05
    assert (over_concepts(selectivity(found.task, found.control["type"]), bounds=(-1.0, 1.0)).high or 0.0) < -0.4


def test_states_that_know_contexts_only_have_positive_selectivity():
    types, contexts, y, use, train = tokens()
    x, control = one_hot(contexts), type_labels(types, y, use)
    found = with_controls(x, y, use, train, torch.full((CONTEXTS, K), 1.0), {"type": control})
    assert min(accuracies(found.task)) > 0.99
    share = control.mean(0)
    assert max(np.asarray(accuracies(found.control["type"])) - torch.maximum(share, 1 - share).numpy()) < 0.05
    assert (over_concepts(selectivity(found.task, found.control["type"]), bounds=(-1.0, 1.0)).low or 0.0) > 0.2


def test_one_solve_equals_scikit_learn_column_by_column():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(400, 6, generator=generator) * torch.logspace(-1, 1, 6)
    y = (x @ torch.randn(6, K, generator=generator) + 4 * torch.randn(400, K, generator=generator) > 0).float()
    use, train = (torch.rand(400, K, generator=generator) < 0.8).float(), torch.arange(400) % 2 == 0
    control = shuffled_labels(y, use, train)
    penalty = x[train].var(0)[:, None].repeat(1, K) / 0.1
    found = with_controls(x, y, use, train, penalty, {"shuffled": control})
    scaled = StandardScaler().fit(x[train].numpy()).transform(x.numpy()) * np.sqrt(99.5 / 100)  # variance over n - 1
    for labels, right in ((y, found.task), (control, found.control["shuffled"])):
        for k in range(K):
            learn, test = train & (use[:, k] > 0), ~train & (use[:, k] > 0)
            model = LogisticRegression(C=0.1, tol=1e-8).fit(scaled[learn], labels[learn, k].numpy())
            expected = model.predict(scaled[test]) == labels[test, k].numpy()
            got = right[~np.isnan(right[:, k]), k]
            assert len(got) == int(test.sum())
            assert (got != expected).sum() <= 1  # a logit at 0 may round either way


def test_type_labels_are_one_a_type_at_the_rate_and_the_same_for_any_text():
    types = torch.arange(5000).repeat(2)
    y = torch.tensor([[1.0, 0.0]]).repeat(10000, 1)
    y[:7000, 0] = 0
    y[:1000, 1] = 1
    labels = type_labels(types, y, torch.ones_like(y), seed=3)
    assert torch.equal(labels[:5000], labels[5000:])
    torch.testing.assert_close(labels.mean(0), torch.tensor([0.3, 0.1]), atol=0.02, rtol=0)
    few = torch.tensor([0, 7, 4])
    rates_of_all = type_labels(torch.cat([few, types]), torch.cat([y[:3], y]), torch.ones(10003, 2), seed=3)
    assert torch.equal(rates_of_all[:3], labels[few])
    assert not torch.equal(labels, type_labels(types, y, torch.ones_like(y), seed=4))
    assert not torch.equal(labels[:, 0] * labels[:, 1], labels[:, 1])  # columns are drawn apart


def test_hash_labels_depend_on_the_key_and_keep_the_rate():
    keys = [f"word{i * i % 211}" for i in range(2000)]
    y = torch.zeros(2000, 2)
    y[:200, 0], y[:1000, 1] = 1, 1
    use = torch.ones_like(y)
    use[1500:, 1] = 0
    labels = hash_labels(keys, y, use)
    by_key: dict[str, set[tuple[float, ...]]] = {}
    for key, row in zip(keys, labels.tolist(), strict=True):
        by_key.setdefault(key, set()).add(tuple(row))
    assert all(len(rows) == 1 for rows in by_key.values())
    assert float(labels[:, 0].mean()) == pytest.approx(0.1, abs=0.01)
    assert float(labels[:1500, 1].mean()) == pytest.approx(2 / 3, abs=0.01)
    assert torch.equal(labels, hash_labels(keys, y, use))
    assert not torch.equal(labels, hash_labels(keys, y, use, seed=1))


def test_hash_labels_with_few_keys_have_both_classes_or_say_nothing():
    y = (torch.arange(100) < 1).float()[:, None]
    labels = hash_labels(["left", "right"] * 50, y, torch.ones_like(y))
    assert labels.mean() == 0.5
    assert not hash_labels(["same"] * 100, y, torch.ones_like(y)).any()
    with pytest.raises(ValueError, match="2 keys for 100 items"):
        hash_labels(["a", "b"], y, torch.ones_like(y))


def test_shuffled_labels_keep_each_sides_classes_and_break_the_rest():
    _, _, y, use, train = tokens()
    use[:500, 1] = 0
    shuffled = shuffled_labels(y, use, train)
    for side in (train, ~train):
        assert torch.equal((use * shuffled)[side].sum(0), (use * y)[side].sum(0))
    assert torch.equal(shuffled[:500, 1], y[:500, 1])
    agreement = ((shuffled == y).float() * use).sum(0) / use.sum(0)
    assert float((agreement - 0.5).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("text", "word"), [("To the Sea.", "sea"), ("well ... ", "well"), ("?!", "?!"), ("", ""), ("don't", "don't")]
)
def test_last_word(text, word):
    assert last_word(text) == word


def test_what_cannot_be_said_is_missing():
    types, contexts, y, use, train = tokens()
    use[2000:, 2] = 0
    control = type_labels(types, y, use)
    control[train, 1] = 0
    found = with_controls(one_hot(contexts), y, use, train, torch.ones(CONTEXTS, K), {"type": control})
    right = found.control["type"]
    assert np.isnan(right[:, 1]).all()
    assert np.isnan(right).sum(0).tolist() == [0, 1500, 1000]
    assert np.isnan(selectivity(found.task, right)).sum(0).tolist() == [0, 1500, 1000]
    y[train, 2] = 1
    with pytest.raises(ValueError, match="column 2 has items of one class only"):
        with_controls(one_hot(contexts), y, use, train, torch.ones(CONTEXTS, K), {})


def test_copies_of_a_text_do_not_make_the_interval_narrower():
    right = (torch.rand(60, 1, generator=torch.Generator().manual_seed(0)) < 0.7).double().numpy()
    copied = np.repeat(right, 10, axis=0)
    once = bootstrap(right[:, 0], bounds=(0.0, 1.0))
    grouped = bootstrap(copied[:, 0], np.arange(60).repeat(10), bounds=(0.0, 1.0))
    apart = bootstrap(copied[:, 0], bounds=(0.0, 1.0))
    assert grouped.value == pytest.approx(once.value)
    assert grouped.low == pytest.approx(once.low, abs=0.03)
    assert (apart.low or 0.0) > (grouped.low or 0.0) + 0.05
