"""Whether a concept can be taken out by its latents alone (arXiv:2411.18895): what probes lose, and what they gain.

Targeted probe perturbation takes a concept out and asks whether its own probe alone suffers. Spurious correlation
removal takes out a concept that a probe relies on by mistake, and asks whether the probe gets better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from probes.sae.probes import balanced_probes
from workbench.evaluation.metrics import auroc


def probe_losses(
    x: Float[Tensor, "text d"],
    codes: Float[Tensor, "text latent"],
    decoder: Float[Tensor, "latent d"],
    label: Int[Tensor, "text concept"],
    judged: Bool[Tensor, "text"],
    counts: Sequence[int],
) -> dict[int, Float[np.ndarray, "concept probe"]]:
    """How much balanced accuracy each concept's probe loses where the latents of a concept are taken out.

    States and codes are means over a text's tokens; `label` is 1, 0 or, for a text that says nothing of a concept, -1.
    A probe is a logistic regression on the state. The latents of a concept are, for each of `counts`, those that move
    its probe most towards it: by the difference of their means between the texts that are not `judged`, times how far
    the probe moves with their direction. Their share of the state is taken out of the judged texts, so that what the
    dictionary does not reconstruct stays. Row: whose latents; column: whose probe. Raises ValueError for a concept
    without a text of each class on either side.
    """
    concepts = range(label.shape[1])
    for at in concepts:
        for name, side in (("fitted on", ~judged), ("judged by", judged)):
            if {0, 1} - set(label[side, at].tolist()):
                raise ValueError(f"concept {at} has no text of each class to be {name}")
    probes = [_probe(x[use], label[use, at]) for at in concepts for use in [~judged & (label[:, at] >= 0)]]
    held, truth = x[judged], label[judged]
    losses = {count: np.zeros((len(concepts), len(concepts))) for count in counts}
    before = [_accuracy(held, truth[:, at], *probes[at]) for at in concepts]
    for at in concepts:
        order = _towards(codes[~judged], label[~judged, at], decoder @ probes[at][0].float())
        for count in counts:
            left = _without(held, codes[judged], decoder, order[:count])
            after = [_accuracy(left, truth[:, other], *probes[other]) for other in concepts]
            losses[count][at] = np.array(before) - np.array(after)
    return losses


def targeted(losses: Float[np.ndarray, "concept probe"]) -> Float[np.ndarray, " concept"]:
    """What each concept's own probe loses, less what the others lose on average. Raises ValueError for one concept."""
    n = len(losses)
    if n < 2:
        raise ValueError("one concept has no others that could be spared; give two or more")
    own = np.diag(losses)
    return own - (losses.sum(1) - own) / (n - 1)


@dataclass(frozen=True, eq=False)
class PairTexts:
    """Texts that hold both of two concepts, one of them, or neither. Raises ValueError for labels but 0 and 1."""

    x: Float[Tensor, "text d"]
    """The mean state of a text's tokens."""
    codes: Float[Tensor, "text latent"]
    """The mean codes of its tokens."""
    label: Int[Tensor, "text 2"]
    """1 with each concept, 0 without."""

    def __post_init__(self) -> None:
        strange = set(self.label.unique().tolist()) - {0, 1}
        if strange:
            raise ValueError(f"a text of a pair is labelled {strange.pop()}; expected 1 with a concept and 0 without")

    @property
    def cells(self) -> set[tuple[int, int]]:
        """The combinations of both labels that there are."""
        return {(first, second) for first, second in self.label.tolist()}


@dataclass(frozen=True)
class PairReading:
    """How well each of the two concepts is read in texts where they are not correlated, from 0 to 1."""

    before: tuple[float, float]
    """By the probe that saw both concepts together or not at all."""
    after: dict[int, tuple[float, float]]
    """By the same probe, by how many latents of the other concept are taken out of the texts."""
    oracle: tuple[float, float]
    """By a probe for each concept that saw texts where they are not correlated."""


def spurious_removal(
    biased: PairTexts, balanced: PairTexts, judged: PairTexts, decoder: Float[Tensor, "latent d"], counts: Sequence[int]
) -> dict[str, PairReading]:
    """How much better a probe reads one concept when the latents of another, correlated one are taken out.

    Spurious correlation removal (arXiv:2411.18895, section 4.1; arXiv:2503.09532), which scores
    (after - before) / (oracle - before). A probe is trained on `biased` texts, which hold both concepts or neither, so
    that it cannot know which is meant. The latents of a concept are, for each of `counts`, those that move its
    oracle's probe most towards it in the `balanced` texts, as in `probe_losses`, and nothing is chosen by the `judged`
    ones. As there what the dictionary does not reconstruct stays in the state.

    By metric: the papers' `accuracy`, balanced, and ours, `auroc`. The probe's threshold lies midway between texts with
    both concepts and with neither; without one of them all texts may fall below it, though they are in the right order.
    The papers take the largest attributions of either sign; this rule takes latents towards the concept only.

    Raises ValueError where `biased` texts hold one concept alone, or the others lack one of the four combinations.
    """
    for name, texts, expected in (("biased", biased, {(0, 0), (1, 1)}), ("balanced", balanced, CELLS),
                                  ("judged", judged, CELLS)):  # fmt: skip
        if texts.cells != expected:
            raise ValueError(f"{name} texts hold {sorted(texts.cells)} of both concepts; expected {sorted(expected)}")
    trained = _probe(biased.x, biased.label[:, 0])
    oracles = [_probe(balanced.x, balanced.label[:, at]) for at in (0, 1)]
    orders = [_towards(balanced.codes, balanced.label[:, at], decoder @ oracles[at][0].float()) for at in (0, 1)]

    def read(probes: Sequence[ProbeWeights], count: int, metric: PairMetric) -> tuple[float, float]:
        """Both concepts, each without so many latents of the other one."""
        left = [_without(judged.x, judged.codes, decoder, orders[1 - at][:count]) for at in (0, 1)]
        first, second = (metric(left[at], judged.label[:, at], *probes[at]) for at in (0, 1))
        return first, second

    return {
        name: PairReading(
            before=read([trained] * 2, 0, metric),
            after={count: read([trained] * 2, count, metric) for count in counts},
            oracle=read(oracles, 0, metric),
        )
        for name, metric in PAIR_METRICS.items()
    }


ProbeWeights = tuple[Float[Tensor, "d"], Float[Tensor, ""]]
"""Weight and intercept of a probe."""

CELLS = {(0, 0), (0, 1), (1, 0), (1, 1)}
"""All combinations of two labels."""


def _without(
    x: Float[Tensor, "text d"],
    codes: Float[Tensor, "text latent"],
    decoder: Float[Tensor, "latent d"],
    out: Int[Tensor, "some"],
) -> Float[Tensor, "text d"]:
    """States without what some latents write."""
    return x - codes[:, out] @ decoder[out]


def _probe(x: Float[Tensor, "text d"], y: Int[Tensor, "text"]) -> ProbeWeights:
    line = balanced_probes(x, y[:, None].float())
    return line.weight[:, 0], line.intercept[0]


def _accuracy(x: Float[Tensor, "text d"], y: Int[Tensor, "text"], w: Float[Tensor, "d"], b: Float[Tensor, ""]) -> float:
    use = y >= 0
    return float(balanced_accuracy_score((y[use] == 1).numpy(), (x[use].to(w) @ w + b > 0).numpy()))


def _order(x: Float[Tensor, "text d"], y: Int[Tensor, "text"], w: Float[Tensor, "d"], b: Float[Tensor, ""]) -> float:
    return float(auroc((x.to(w) @ w + b).double().numpy(), (y == 1).numpy()))


PairMetric = Callable[..., float]
PAIR_METRICS: dict[str, PairMetric] = {"accuracy": _accuracy, "auroc": _order}


def _towards(
    codes: Float[Tensor, "text latent"], y: Int[Tensor, "text"], along: Float[Tensor, "latent"]
) -> Int[Tensor, "some"]:
    """The latents that move the probe towards the concept, most first."""
    effect = (codes[y == 1].mean(0) - codes[y == 0].mean(0)) * along
    order = effect.argsort(descending=True, stable=True)
    return order[effect[order] > 0]
