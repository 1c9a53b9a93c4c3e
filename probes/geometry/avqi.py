"""How far safe states lie from unsafe ones: the Adversarial Vulnerability Quality Index and its parts.

AVQI (arXiv:2506.08885; its form is that of the published code) is 1/2 [1/DBS(safe, unsafe) + 1/DBS(safe, jailbreak)] +
1/DI; lower is better. DBS is the distance of two centroids over the sum of their spreads (mean distances to the
centroid): an inverse Davies-Bouldin term. DI is the least distance of two centroids over the largest diameter: Dunn's
index with centroid linkage.

In the paper's form DI looks at all three pairs, so that unsafe and jailbreak states in one place, which the method
GRACE trains towards, count as badly as jailbreak states in the place of the safe ones. In the two-cluster form, ours,
DI is that of safe states and adversarial ones, unsafe and jailbreak together. Both forms are always reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import calinski_harabasz_score, silhouette_score
from torch import Tensor

from workbench.data.items import DataError
from workbench.data.safety import ROLES
from workbench.evaluation.intervals import Interval, bootstrap_clusters
from workbench.models.devices import fast_bfloat16

EPSILON = 1e-8
"""Added to every divisor, as published."""

ONE_SIDED = "the value is outside: noise is as long as the distance of centroids, and the interval may miss the truth"
"""Of an interval on one side of its value."""

_ROWS, _BLOCK, _STRIPE = 256, 512, 128
"""States whose distances are kept for draws, those with the farthest neighbours; pairs looked at together; and states
whose farthest neighbours are looked for together."""

StatesByRole = Mapping[str, Float[Tensor, "*layer item d"]]
"""Of each of ROLES; the i-th states of all three belong to one triple."""


@dataclass(frozen=True)
class Avqi:
    """The index of one set of states, and what it is made of."""

    paper: float
    """Lower is better; DI over three clusters."""
    two_cluster: float
    """Lower is better; DI over safe and adversarial."""
    dbs_unsafe: float
    """Of safe and unsafe: higher is better, and whatever the scale."""
    dbs_jailbreak: float
    """Of safe and jailbreak."""
    dunn: float
    dunn_two: float


METRICS = tuple(each.name for each in fields(Avqi))


def avqi(states: StatesByRole) -> list[Avqi]:
    """The index of each layer (one, for states without an axis of layers).

    The farthest pair is looked for in bfloat16 where that is fast, and measured in the precision of the states: a
    diameter is exact, or that of a pair which bfloat16 cannot tell from the farthest (0.4 %). Raises DataError for
    states that are not of ROLES, not finite, or not of one shape.
    """
    stacked = _checked(states)
    everyone = torch.ones(1, stacked.shape[2], dtype=stacked.dtype)
    found = []
    for x in stacked.unbind(1):
        diameters = [_Farthest.of(a, b, 32, _screened(a)).longest[:1] for a, b in _pairs(x)]
        found.append(Avqi(**{name: float(value) for name, value in _measured(x, everyone, diameters).items()}))
    return found


def avqi_intervals(
    states: StatesByRole, group: Int[np.ndarray, " item"] | None = None, *, draws: int = 1000, seed: int = 0
) -> list[dict[str, Interval]]:
    """Every metric of each layer with an interval over prompts: triples are drawn whole, and by `group` if given.

    Diameters are those of the drawn states: a draw's is at most the sample's. Basic bootstraps, cut at 0: a draw adds
    its noise to the distance of two centroids as the sample has added its own, so that draws lie beyond the value
    as far as the value lies beyond the truth. In many dimensions with few prompts even these reach too far up (DBS) or
    down (AVQI): docs/grace.md has their coverage. Raises DataError as `avqi`.
    """
    stacked = _checked(states)
    groups = np.arange(stacked.shape[2]) if group is None else group
    return [_intervals(x, groups, draws, seed) for x in stacked.unbind(1)]


def _intervals(x: Float[Tensor, "role item d"], groups: np.ndarray, draws: int, seed: int) -> dict[str, Interval]:
    farthest = [(_Farthest.of(a, b, _ROWS, a.dtype), a, b) for a, b in _pairs(x)]

    @lru_cache(maxsize=1)  # all metrics see one block of draws after the other
    def measured(block: bytes, n: int) -> dict[str, np.ndarray]:
        count = torch.from_numpy(np.frombuffer(block).reshape(-1, n).copy()).to(x.dtype)
        diameters = [each.diameter(count > 0, a, b) for each, a, b in farthest]
        return {name: value.double().numpy() for name, value in _measured(x, count, diameters).items()}

    statistics = [lambda count, name=name: measured(count.tobytes(), count.shape[1])[name] for name in METRICS]
    found = bootstrap_clusters(groups, *statistics, bounds=None, draws=draws, seed=seed)
    return {name: _reflected(each) for name, each in zip(METRICS, found, strict=True)}


def _reflected(found: Interval) -> Interval:
    """The basic interval, from the percentiles of the draws."""
    if found.value is None or found.low is None or found.high is None:
        return found
    ends = (max(0.0, 2 * found.value - each) for each in (found.high, found.low))
    return noted(replace(found, **dict(zip(("low", "high"), ends, strict=True))))


def noted(found: Interval) -> Interval:
    """With a note where the value lies outside its own interval: draws all lie on one side of it."""
    if found.value is None or found.low is None or found.high is None or found.low <= found.value <= found.high:
        return found
    return replace(found, note=ONE_SIDED)


def cluster_indices(states: Mapping[str, Float[Tensor, "item d"]]) -> dict[str, float]:
    """Silhouette and Calinski-Harabasz (scikit-learn's; higher is better) and Xie-Beni (lower is better) of clusters.

    Xie-Beni (1991) of crisp clusters is the mean squared distance to the centroid over the least squared distance of
    two centroids.
    """
    parts = [each.double() for each in states.values()]
    x = torch.cat(parts).numpy()
    label = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    centroids = torch.stack([part.mean(0) for part in parts])
    within = torch.cat([(part - centroid).square().sum(1) for part, centroid in zip(parts, centroids, strict=True)])
    return {
        "silhouette": float(silhouette_score(x, label)),
        "calinski_harabasz": float(calinski_harabasz_score(x, label)),
        "xie_beni": float(within.mean() / (torch.pdist(centroids).min().square() + EPSILON)),
    }


def _checked(states: StatesByRole) -> Float[Tensor, "role layer item d"]:
    if set(states) != set(ROLES):
        raise DataError(f"AVQI is of states of the roles {', '.join(ROLES)}; got {', '.join(states)}")
    every = [states[role] for role in ROLES]
    if len({each.shape for each in every}) > 1 or every[0].ndim not in (2, 3) or every[0].shape[-2] < 2:
        shapes = [tuple(each.shape) for each in every]
        raise DataError(f"AVQI takes states [item, d] or [layer, item, d] of two triples or more, not {shapes}")
    stacked = torch.stack([each if each.ndim == 3 else each[None] for each in every])
    centre = stacked.mean((0, 2), keepdim=True)
    if not bool(centre.isfinite().all()) and not bool(stacked.isfinite().all()):
        raise DataError("AVQI was given states that are not finite")
    return stacked.sub_(centre)  # rounding grows with the distance from 0


def _measured(
    x: Float[Tensor, "role item d"], count: Float[Tensor, "draw item"], diameters: Sequence[Float[Tensor, "draw"]]
) -> dict[str, Float[Tensor, "draw"]]:
    """Every metric of each draw, of which `count` says how often it has each triple, with its diameters (`_pairs`)."""
    share = count / count.sum(1, keepdim=True)
    safe, unsafe, jailbreak = share @ x  # [draw, d]
    spreads = [
        (share * torch.cdist(centroid - middle, states - middle)).sum(1)
        for centroid, states, middle in zip((safe, unsafe, jailbreak), x, x.mean(1), strict=True)
    ]
    apart = [(a - b).norm(dim=1) for a, b in ((safe, unsafe), (safe, jailbreak), (unsafe, jailbreak))]
    adversarial = (safe - (unsafe + jailbreak) / 2).norm(dim=1)
    own, both = torch.stack([*diameters[:3]]).amax(0), torch.stack([*diameters]).amax(0)
    dbs = [apart[k] / (spreads[0] + spreads[k + 1] + EPSILON) for k in (0, 1)]
    dunn, dunn_two = torch.stack(apart).amin(0) / (own + EPSILON), adversarial / (both + EPSILON)
    overlap = sum(1 / (value + EPSILON) for value in dbs) / 2
    return {
        "paper": overlap + 1 / (dunn + EPSILON),
        "two_cluster": overlap + 1 / (dunn_two + EPSILON),
        "dbs_unsafe": dbs[0],
        "dbs_jailbreak": dbs[1],
        "dunn": dunn,
        "dunn_two": dunn_two,
    }


def _pairs(x: Float[Tensor, "role item d"]) -> list[tuple[Tensor, Tensor]]:
    """Between which states diameters are taken: within safe, unsafe and jailbreak, and from unsafe to jailbreak."""
    unsafe, jailbreak = x[1:] - x[1:].mean((0, 1))
    return [*((own, own) for own in x - x.mean(1, keepdim=True)), (unsafe, jailbreak)]


def _screened(x: Tensor) -> torch.dtype:
    """In what states are compared before the best of them are measured."""
    return torch.bfloat16 if x.dtype == torch.float32 and fast_bfloat16(x.device) else x.dtype


@dataclass(frozen=True, eq=False)
class _Farthest:
    """The pairs from `left` to `right` states that lie farthest apart, from the farthest on.

    There is no other pair as far apart as the last of them, as far as the screening saw.
    """

    left: Int[Tensor, "pair"]
    right: Int[Tensor, "pair"]
    longest: Float[Tensor, "pair"]
    """Their distances."""

    @classmethod
    def of(
        cls, a: Float[Tensor, "left d"], b: Float[Tensor, "right d"], n_rows: int, dtype: torch.dtype
    ) -> "_Farthest":
        """From the `n_rows` left states with the farthest neighbours to all right ones.

        Among the states of one set, every pair is looked at from its first state alone.
        """
        size = torch.linalg.vector_norm(b, dim=1).square()
        coarse = size.to(dtype)
        right = torch.cat([-2 * b.to(dtype), coarse[:, None], (size - coarse).to(dtype)[:, None]], 1).T
        left = torch.nn.functional.pad(a.to(dtype), (0, 2), value=1.0)
        reach = torch.linalg.vector_norm(a, dim=1).square()
        for start in range(0, len(a), _STRIPE):
            rows = slice(start, start + _STRIPE)
            reach[rows] += (left[rows] @ right[:, start if a is b else 0 :]).amax(1)
        best, rows = reach.topk(min(n_rows + 1, len(a)))
        rows = rows[:n_rows]
        exact = torch.cdist(a[rows], b)
        least = best[-1].clamp(min=0).sqrt() if len(best) > n_rows else exact.new_zeros(())
        at = (exact >= torch.minimum(least, exact.max())).nonzero()
        order = exact[at[:, 0], at[:, 1]].argsort(descending=True)
        at = at[order]
        return cls(rows[at[:, 0]], at[:, 1], exact[at[:, 0], at[:, 1]])

    def diameter(self, drawn: Bool[Tensor, "draw item"], a: Tensor, b: Tensor) -> Float[Tensor, "draw"]:
        """The largest distance of two states that are both drawn."""
        found = torch.zeros(len(drawn), dtype=self.longest.dtype)
        open_draws = torch.arange(len(drawn))
        for start in range(0, len(self.longest), _BLOCK):
            block = slice(start, start + _BLOCK)
            both = drawn[open_draws][:, self.left[block]] & drawn[open_draws][:, self.right[block]]
            hit = both.any(1)
            found[open_draws[hit]] = self.longest[block][both[hit].int().argmax(1)]
            open_draws = open_draws[~hit]
        for draw in open_draws.tolist():
            found[draw] = torch.cdist(a[drawn[draw]], b[drawn[draw]]).max()
        return found
