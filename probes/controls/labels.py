"""Control labels: how well the same probe does where there is nothing to find (Hewitt & Liang 2019, arXiv:1909.03368).

A probe that fits arbitrary labels of words as well as the task's labels says more about itself than about the model.
Labels are 0 or 1, a column a concept. The three makers of control labels take the items of training and test together,
give labels for the same items, and draw anew for each column; `use` is 1 where an item belongs to a column, else 0.
"""

import hashlib
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.solvers.design import both_classes
from probes.solvers.logistic import fit_logistic
from probes.solvers.paths import balanced
from workbench.evaluation.intervals import Bounds, Interval, bootstrap


def type_labels(
    types: Int[Tensor, "item"], y: Float[Tensor, "item concept"], use: Float[Tensor, "item concept"], *, seed: int = 0
) -> Float[Tensor, "item concept"]:
    """Hewitt & Liang's control task: one label for each token type, the same wherever the type occurs.

    Each type (an id from 0, such as the token's) draws its label by itself from the column's share of positives, so
    the share over items may come out different where few types make up most of the text.
    """
    rate = _rate(y, use)  # [concept]
    n_types = int(types.max()) + 1
    draws = [np.random.default_rng([seed, column]).random(n_types) for column in range(y.shape[1])]
    drawn = torch.from_numpy(np.stack(draws, 1))[types]  # [item, concept]
    return (drawn < rate).to(y.dtype)


def hash_labels(
    keys: Sequence[str], y: Float[Tensor, "item concept"], use: Float[Tensor, "item concept"], *, seed: int = 0
) -> Float[Tensor, "item concept"]:
    """A label for each distinct key of a text (its `last_word`, the id of its template), by a seeded hash of the key.

    Keys are positive in the order of their hashes, as many as bring the share of positive items closest to the
    column's own; at least one key is positive and one negative. Where a column's items share one key no such task is
    possible: all its labels are 0, and `with_controls` has nothing to say. Raises ValueError unless there is a key for
    each item.
    """
    if len(keys) != len(y):
        raise ValueError(f"hash_labels needs one key for each item; got {len(keys)} keys for {len(y)} items")
    distinct, place = np.unique(np.asarray(keys, dtype=object), return_inverse=True)
    at = torch.from_numpy(place)
    counts = torch.zeros(len(distinct), y.shape[1], dtype=use.dtype).index_add_(0, at, use)  # [key, concept]
    wanted = (use * y).sum(0)
    labels = torch.zeros_like(counts)
    for column in range(y.shape[1]):
        ranked = sorted(range(len(distinct)), key=lambda key: _hash(f"{seed} {column} {distinct[key]}"))
        ranked = [key for key in ranked if counts[key, column] > 0]
        share = counts[ranked, column].cumsum(0)[:-1]  # leaves a key for the negatives
        if len(share):
            labels[ranked[: int((share - wanted[column]).abs().argmin()) + 1], column] = 1
    return labels[at].to(y.dtype)


def shuffled_labels(
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    train: Bool[Tensor, "item"],
    *,
    seed: int = 0,
) -> Float[Tensor, "item concept"]:
    """Each column's labels in a random order within the training items, and within the others: no state tells them.

    Shares of positives stay as they are; items that a column does not use keep their label.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = y.clone()
    for side in (train, ~train):
        for column in range(y.shape[1]):
            mine = (side & (use[:, column] > 0)).nonzero()[:, 0]
            shuffled[mine, column] = y[mine[torch.randperm(len(mine), generator=generator)], column]
    return shuffled


def last_word(text: str) -> str:
    """The last word of a text in lower case, without the punctuation around it; the whole text if it has no word."""
    words = (word.strip(string.punctuation) for word in reversed(text.lower().split()))
    return next((word for word in words if word), text)


@dataclass(frozen=True, eq=False)
class Controlled:
    """For each test item and column 1 where the probe was right, 0 where wrong, NaN where there is nothing to say.

    A column is NaN throughout under a control that gives its training items one class only. `over_concepts`
    and `selectivity` turn these arrays into numbers.
    """

    task: Float[np.ndarray, "item concept"]
    control: Mapping[str, Float[np.ndarray, "item concept"]]


def with_controls(
    x: Float[Tensor, "item d"],
    y: Float[Tensor, "item concept"],
    use: Float[Tensor, "item concept"],
    train: Bool[Tensor, "item"],
    penalty: Float[Tensor, "d concept"],
    controls: Mapping[str, Float[Tensor, "item concept"]],
    *,
    balance: bool = False,
) -> Controlled:
    """Fit task and control probes on the training items in one solve, and judge them on the others.

    Every control has the task's states, items and penalty, as selectivity asks. With `balance` both classes weigh the
    same in every fit; judge such probes by balanced accuracy. Raises ValueError, naming the column,
    if a task has training items of one class only.
    """
    copies = 1 + len(controls)
    labels, used = torch.cat([y, *controls.values()], 1), use.repeat(1, copies)
    learnt = used * train[:, None]
    fit = both_classes(labels, learnt)
    fit[: y.shape[1]] = True  # the solver refuses a task with one class
    rows = learnt.any(1)
    weights = balanced(labels[:, fit], learnt[:, fit]) if balance else learnt[:, fit]
    fitted = fit_logistic(x[rows], labels[rows][:, fit], weights[rows], penalty.repeat(1, copies)[:, fit])
    logits = x[~train].to(fitted.weight) @ fitted.weight + fitted.intercept
    right = torch.full((int((~train).sum()), len(fit)), torch.nan)
    right[:, fit] = ((logits > 0) == (labels[~train][:, fit] > 0)).float()
    task, *others = right.where(used[~train] > 0, torch.nan).numpy().reshape(len(right), copies, -1).swapaxes(0, 1)
    return Controlled(task, dict(zip(controls, others, strict=True)))


def selectivity(task: Float[np.ndarray, "*any"], control: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Task accuracy less control accuracy; of single items too (1 right, 0 wrong), whose mean it is. NaN stays NaN."""
    return task - control


def over_concepts(
    values: Float[np.ndarray, "item concept"], *, bounds: Bounds | None, draws: int = 2000, seed: int = 0
) -> Interval:
    """The mean over concepts, each counting the same, with its 95 % interval over concepts.

    `bounds` are those of the values: (0, 1) of what is right, (-1, 1) of a selectivity.
    """
    concept = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return bootstrap(values.ravel(), concept.ravel(), bounds=bounds, draws=draws, seed=seed)


def _rate(y: Tensor, use: Tensor) -> Float[Tensor, "concept"]:
    return (use * y).sum(0).double() / use.sum(0)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
