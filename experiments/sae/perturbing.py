"""Whether latents carry their concept and no other: how much probes lose where they are taken out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.sae.fitting import FittedDictionary
from probes.sae.perturbation import probe_losses, targeted
from workbench.data.dataset import Dataset
from workbench.evaluation.intervals import Interval, bootstrap

TAKEN = (2, 10, 50)
"""Latents of a concept that are taken out."""


@dataclass(frozen=True)
class Perturbation:
    """What probes lose without the latents of a concept."""

    name: str
    losses: dict[int, list[list[float]]]
    """By the number of latents: balanced accuracy that each probe (inner) loses without each concept's (outer)."""

    def interval(self, count: int, what: str) -> Interval:
        """The mean over concepts of what their `own` probe loses, the `others` do, or `targeted`: the difference."""
        losses = np.array(self.losses[count])
        own, apart = np.diag(losses), targeted(losses)
        values = {"own": own, "others": own - apart, "targeted": apart}[what]
        return bootstrap(values, bounds=(-1.0, 1.0))


def perturb(
    fit: FittedDictionary,
    concepts: Dataset,
    states: Callable[[], Float[Tensor, "text d"]],
    codes: Callable[[], Float[Tensor, "text latent"]],
) -> Perturbation:
    """A unit: probes on mean states of the texts of concepts, without latents of a dictionary."""
    label = torch.from_numpy(concepts.plain_labels.astype(np.int64))
    judged = torch.from_numpy(concepts.split == "evaluation")

    def compute() -> dict[str, list[list[float]]]:
        found = probe_losses(states(), codes(), fit.dictionary.W_dec.float(), label, judged, TAKEN)
        return {str(count): losses.tolist() for count, losses in found.items()}

    digests = {"features": fit.dictionary.content_digest, "concepts": concepts.digest}
    inputs = fit.source.inputs(**digests, counts=list(TAKEN), version=1)
    stored = fit.source.run.unit(f"perturbation/{fit.title}", inputs, compute)
    return Perturbation(fit.title, {int(count): losses for count, losses in stored.items()})
