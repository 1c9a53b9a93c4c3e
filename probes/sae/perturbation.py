"""Whether a concept can be taken out by its latents alone: targeted probe perturbation (arXiv:2411.18895)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from probes.solvers.paths import balanced, logistic_path

C = 0.1
"""Inverse strength of the probes' penalty on standardised coordinates."""


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
            own = order[:count]
            left = held - codes[judged][:, own] @ decoder[own]
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


def _probe(x: Float[Tensor, "text d"], y: Int[Tensor, "text"]) -> tuple[Float[Tensor, "d"], Float[Tensor, ""]]:
    labels = y[:, None].float()
    (line,) = logistic_path(x, labels, balanced(labels, torch.ones_like(labels)), (C,))
    return line.weight[:, 0], line.intercept[0]


def _accuracy(x: Float[Tensor, "text d"], y: Int[Tensor, "text"], w: Float[Tensor, "d"], b: Float[Tensor, ""]) -> float:
    use = y >= 0
    return float(balanced_accuracy_score((y[use] == 1).numpy(), (x[use].to(w) @ w + b > 0).numpy()))


def _towards(
    codes: Float[Tensor, "text latent"], y: Int[Tensor, "text"], along: Float[Tensor, "latent"]
) -> Int[Tensor, "some"]:
    """The latents that move the probe towards the concept, most first."""
    effect = (codes[y == 1].mean(0) - codes[y == 0].mean(0)) * along
    order = effect.argsort(descending=True, stable=True)
    return order[effect[order] > 0]
