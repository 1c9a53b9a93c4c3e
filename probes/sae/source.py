"""What a dictionary is trained on: batches of a stream, without the states that stand far out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data.items import DataError
from workbench.data.stream import ActivationStream, StreamBatch
from workbench.models.activations import Activations
from workbench.models.sites import Site
from workbench.runs.files import digest

OUTLIER = 10.0
"""States longer than this many times the median stand out: the attention sink is hundreds of times as long."""
N_MEASURED = 8
"""Batches that the statistics of a stream are taken from."""


def stream_of(
    x: Float[Tensor, "item d"] | Float[np.ndarray, "item d"],
    site: Site | str,
    *,
    batch_size: int = 2048,
    buffer_batches: int = 64,
    seed: int = 0,
) -> ActivationStream:
    """States that are there already, in memory or mapped from a file, as a stream. Raises DataError as the stream."""
    site = Site.parse(site)

    def read(rows: list[int]) -> Activations:
        array = torch.from_numpy(x[rows]) if isinstance(x, np.ndarray) else x[rows]
        return Activations({site: array}, torch.arange(len(rows)), len(rows))

    return ActivationStream(torch.ones(len(x), dtype=torch.long), read, batch_size, buffer_batches, seed)


def longest_usual(lengths: Float[Tensor, "item"], outlier: float = OUTLIER) -> float:
    """The length above which a state stands out: so many times the median."""
    return outlier * float(lengths.median())


@dataclass(frozen=True, eq=False)
class SiteStatistics:
    """Of the states at a site that do not stand out."""

    mean: Float[Tensor, "d"]
    scale: float
    """What states are multiplied with for a mean length of sqrt(d)."""
    longest: float
    """States longer than this stand out."""

    @property
    def digest(self) -> str:
        """Of the numbers."""
        return digest([self.mean.tolist(), self.scale, self.longest])

    @classmethod
    def of(cls, x: Float[Tensor, "item d"], outlier: float) -> "SiteStatistics":
        """From some states; those longer than `outlier` times the median length stand out.

        Raises DataError for states that are not finite, or that have no length.
        """
        lengths = x.norm(dim=1)
        if not bool(lengths.isfinite().all()):
            raise DataError("a dictionary was given states that are not finite")
        if not bool(lengths.any()):
            raise DataError("a dictionary was given states that are all 0")
        longest = longest_usual(lengths, outlier)
        usual = x[lengths <= longest]
        return cls(usual.mean(0), float(x.shape[1] ** 0.5 / usual.norm(dim=1).mean()), longest)


def site_statistics(stream: ActivationStream, sites: tuple[Site, ...], outlier: float) -> dict[Site, SiteStatistics]:
    """The statistics of the first batches at each site."""
    batches = list(islice(stream.batches(epochs=1), N_MEASURED))
    return {site: SiteStatistics.of(torch.cat([batch.x(site) for batch in batches]), outlier) for site in sites}


def usual_states(batch: StreamBatch, statistics: dict[Site, SiteStatistics]) -> dict[Site, Float[Tensor, "item d"]]:
    """The states of a batch; those that stand out at any site make room for others of the batch, from the first on.

    The attention sink is hundreds of times as long as other states: a dictionary would learn little else. A batch keeps
    its size, so that nothing is compiled anew. Raises ValueError where all stand out.
    """
    lengths = {site: batch.x(site).norm(dim=1) for site in statistics}
    out = torch.stack([lengths[site] > one.longest for site, one in statistics.items()]).any(0)
    usual = (~out).nonzero()[:, 0]
    if not len(usual):
        raise ValueError("all states of a batch stand out in length; raise `outlier`")
    items = torch.arange(len(out))
    items[out] = usual[torch.arange(int(out.sum())) % len(usual)]
    return {site: batch.x(site)[items] for site in statistics} if bool(out.any()) else dict(batch.states)


def usual_batches(
    stream: ActivationStream, statistics: dict[Site, SiteStatistics], start: int
) -> Iterator[dict[Site, Float[Tensor, "item d"]]]:
    """The usual states of batch `start` and all that follow, without end."""
    return (usual_states(batch, statistics) for batch in stream.batches(start))
