"""What can still be read from states: a linear probe, a small network, and clusters that nobody labelled.

Every reader is trained anew on the states it is given. Both classes count the same, so that chance is 0.5.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from probes.solvers.paths import balanced, chosen, logistic_path
from workbench.artifacts.eraser import Eraser

GRID = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the linear probe's penalty on standardised states; held-out texts choose."""

ROUNDING = 1e-6
"""Log-odds that say nothing: erasers are kept in float32, and leave differences of the means of 1e-8 deviations."""


@dataclass(frozen=True, eq=False)
class SplitStates:
    """States and whether each has the concept."""

    x: Float64[Tensor, "item d"]
    y: Bool[Tensor, "item"]

    def erased(self, eraser: Eraser) -> "SplitStates":
        """The same items after the eraser."""
        return SplitStates(eraser(self.x), self.y)

    def at(self, chosen: Int[Tensor, "item"] | Bool[Tensor, "item"]) -> "SplitStates":
        """Some of the items."""
        return SplitStates(self.x[chosen], self.y[chosen])


@dataclass(frozen=True, eq=False)
class Parts:
    """What probes are trained on, what chooses their penalty, and what they are judged on."""

    train: SplitStates
    held: SplitStates
    test: SplitStates

    def erased(self, eraser: Eraser) -> "Parts":
        """All three after the eraser."""
        return Parts(self.train.erased(eraser), self.held.erased(eraser), self.test.erased(eraser))

    def standard(self) -> "Parts":
        """Shifted and scaled feature by feature as the training states want it."""
        mean, scale = self.train.x.mean(0), self.train.x.std(0).clamp_min(1e-9)
        return Parts(*(SplitStates((part.x - mean) / scale, part.y) for part in (self.train, self.held, self.test)))


def accuracy(said: Bool[Tensor, "item"], y: Bool[Tensor, "item"]) -> float:
    """Mean of the shares of each class that are right."""
    return float((said[y].double().mean() + (~said[~y]).double().mean()) / 2)


def linear(parts: Parts, grid: tuple[float, ...] = GRID) -> Bool[Tensor, "item"]:
    """What an L2 logistic regression says of each test item; the C with the smallest held-out loss.

    An item has the concept where its log-odds are above `ROUNDING`: where nothing linear is left, all of them are 0 but
    for rounding, and signs of that would be called an accuracy of anything.
    """
    standard = parts.standard()
    unscaled = torch.ones_like(standard.train.x[:1]).T  # [d, 1]; the states are standardised already
    fits = logistic_path(standard.train.x, *_column(standard.train.y), grid, variance=unscaled)
    best = chosen(fits, grid, standard.held.x, *_column(standard.held.y))
    return (standard.test.x @ best.weight + best.intercept)[:, 0] > ROUNDING


def fresh(test: SplitStates) -> float:
    """Accuracy of linear probes that are trained on one half of the items and judged on the other, both ways.

    For items that the eraser was not fitted on: whether the concept is gone, and not only from the fitted texts. C is
    the second of GRID, as nothing is left to choose it on.
    """
    half = torch.zeros(len(test.y), dtype=torch.bool)
    for side in (True, False):
        mine = (test.y == side).nonzero()[:, 0]
        half[mine[::2]] = True
    right = [
        accuracy(linear(Parts(test.at(a), test.at(a), test.at(b)), GRID[1:2]), test.at(b).y)
        for a, b in ((half, ~half), (~half, half))
    ]
    return sum(right) / 2


def network(parts: Parts, seed: int = 0) -> Bool[Tensor, "item"]:
    """What a network with one hidden layer of 64 says of each test item; positives are repeated to be as many."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    standard = parts.standard()
    chosen = _balanced(standard.train.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a network that still learns is what it is
        found = MLPClassifier((64,), alpha=1e-2, max_iter=200, random_state=seed)
        found.fit(standard.train.x[chosen].numpy(), standard.train.y[chosen].numpy())
    return torch.from_numpy(found.predict(standard.test.x.numpy()))


def clusters(parts: Parts, seed: int = 0) -> float:
    """Adjusted Rand index of two clusters of the test items (k-means) with the labels: 0 is chance, 1 the same."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    test = parts.standard().test
    found = KMeans(2, n_init=10, random_state=seed)  # type: ignore[arg-type]
    said = found.fit_predict(test.x.numpy())
    return float(adjusted_rand_score(test.y.numpy(), said))


def edit_share(part: SplitStates, eraser: Eraser) -> float:
    """Mean squared length of the change over the total variance of the states."""
    return float(eraser.taken(part.x).square().sum(1).mean() / part.x.var(0, correction=0).sum())


def _column(y: Bool[Tensor, "item"]) -> tuple[Float64[Tensor, "item 1"], Float64[Tensor, "item 1"]]:
    """Labels, and weights of at most 1 with which both classes weigh the same."""
    label = y.double()[:, None]
    use = balanced(label, torch.ones_like(label))
    return label, use / use.max()


def _balanced(y: Bool[Tensor, "item"]) -> Int[Tensor, "chosen"]:
    """Every item, the smaller class again and again until it is as large; in an order that mixes them."""
    sides = [(y == side).nonzero()[:, 0] for side in (True, False)]
    most = max(map(len, sides))
    filled = [side.repeat(-(-most // len(side)))[:most] for side in sides]
    return torch.from_numpy(np.random.default_rng(0).permutation(torch.cat(filled).numpy()))
