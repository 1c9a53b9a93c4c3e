"""Where latents are active in some texts: one pass, with the best of the whole set for each latent."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.sae.browser.latent_set import Encode
from workbench.data.store import Shards
from workbench.models.activations import Activations
from workbench.models.sites import Site

BATCH = 2048
"""States whose activations are in memory together, about."""

BEFORE, AFTER = 15, 8
"""Tokens that are shown around the one where a latent is most active."""


@dataclass(frozen=True, eq=False)
class LatentContexts:
    """For each latent up to n places in different texts; unused places have an activation of 0."""

    activation: Float[Tensor, "latent n"]
    text: Int[Tensor, "latent n"]
    position: Int[Tensor, "latent n"]
    """Of the token with that activation in its text."""
    window: Float[Tensor, "latent n width"]
    """Activations from BEFORE tokens in front to AFTER behind; 0 where no state was read."""


@dataclass(frozen=True, eq=False)
class Activity:
    """What latents did in some texts."""

    n_states: int
    density: Float[Tensor, "latent"]
    """The share of states in which each is active."""
    mean: Float[Tensor, "latent"]
    """Its mean activation where it is active, 0 for one that never is."""
    top: LatentContexts
    """The largest activations of all texts, one a text, in descending order."""
    sample: LatentContexts
    """Texts drawn at random from those in which it is active, with their largest activation."""


def collect(
    encode: Encode,
    activations: Activations | Shards,
    site: Site,
    longest: float = torch.inf,
    *,
    n_latents: int,
    n_top: int = 5,
    n_sample: int = 16,
    seed: int = 0,
) -> Activity:
    """Look at the states of all texts once; those longer than `longest` count as silent.

    Raises ValueError for states without positions.
    """
    top, sample = _Kept(n_latents, n_top), _Kept(n_latents, n_sample)
    draw = torch.Generator().manual_seed(seed)
    fired, total = torch.zeros(n_latents, dtype=torch.float64), torch.zeros(n_latents, dtype=torch.float64)
    n_states = 0
    for text, position, codes in _texts(encode, activations, site, longest):
        n_states += len(codes)
        fired += (codes > 0).sum(0)
        total += codes.sum(0)
        value, at = codes.max(0)
        active = value > 0
        found = _Found(text, position, codes, value, at)
        top.offer(value, active, found)
        sample.offer(torch.rand(n_latents, generator=draw), active, found)
    mean = torch.where(fired > 0, total / fired.clamp(min=1), 0.0)
    return Activity(n_states, (fired / n_states).float(), mean.float(), top.contexts(), sample.contexts())


def middle(activity: Activity, n: int) -> LatentContexts:
    """Of the sampled texts the `n` whose activation is nearest to half of the largest, without those at the top."""
    sample, top = activity.sample, activity.top
    twice = (sample.text[:, :, None] == top.text[:, None]) & (top.activation[:, None] > 0)
    far = (sample.activation / top.activation[:, :1].clamp(min=1e-12) - 0.5).abs()
    far[(sample.activation == 0) | twice.any(2)] = torch.inf
    order = far.argsort(1)[:, :n]
    chosen = _rows(sample, order)
    lost = far.gather(1, order).isinf()
    return LatentContexts(chosen.activation.masked_fill(lost, 0.0), chosen.text, chosen.position, chosen.window)


def _rows(contexts: LatentContexts, order: Int[Tensor, "latent n"]) -> LatentContexts:
    activation, text, position = (
        array.gather(1, order) for array in (contexts.activation, contexts.text, contexts.position)
    )
    window = contexts.window.gather(1, order[:, :, None].expand(-1, -1, contexts.window.shape[2]))
    return LatentContexts(activation, text, position, window)


def _texts(
    encode: Encode, activations: Activations | Shards, site: Site, longest: float
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number, positions [token] and activations [token, latent] of each text that has states."""
    for part in activations.parts:
        if part.position is None:
            raise ValueError("latents are browsed token by token, and pooled states have no positions")
        texts, counts = part.row.unique_consecutive(return_counts=True)
        for begin, end, some in _spans(counts.tolist()):
            x = part.arrays[site][begin:end].float()
            codes = (encode(x) * (x.norm(dim=1, keepdim=True) <= longest)).cpu()
            positions = part.position[begin:end]
            sizes = counts[some].tolist()
            yield from zip(texts[some].tolist(), positions.split(sizes), codes.split(sizes), strict=True)


def _spans(counts: list[int]) -> Iterator[tuple[int, int, slice]]:
    """Items from, to, and which texts they are of: whole texts, of about BATCH states."""
    begin = end = first = 0
    for number, count in enumerate(counts):
        end += count
        if end - begin >= BATCH or number == len(counts) - 1:
            yield begin, end, slice(first, number + 1)
            begin, first = end, number + 1


@dataclass(frozen=True, eq=False)
class _Found:
    """One text, and each latent's largest activation in it."""

    text: int
    position: Int[Tensor, "token"]
    codes: Float[Tensor, "token latent"]
    value: Float[Tensor, "latent"]
    at: Int[Tensor, "latent"]

    def windows(self, latents: Int[Tensor, "chosen"]) -> Float[Tensor, "chosen width"]:
        """Activations around the largest one, 0 where there is no state."""
        wanted = self.position[self.at[latents], None] + torch.arange(-BEFORE, AFTER + 1)
        place = torch.searchsorted(self.position, wanted.contiguous()).clamp(max=len(self.position) - 1)
        values = self.codes[place, latents[:, None]]
        return values * (self.position[place] == wanted)


class _Kept:
    """The places of highest priority for each latent."""

    def __init__(self, n_latents: int, n: int) -> None:
        self.priority = torch.full((n_latents, n), -torch.inf)
        self.activation = torch.zeros(n_latents, n)
        self.text, self.position = (torch.zeros(n_latents, n, dtype=torch.long) for _ in range(2))
        self.window = torch.zeros(n_latents, n, BEFORE + 1 + AFTER)

    def offer(self, priority: Float[Tensor, "latent"], active: Bool[Tensor, "latent"], found: _Found) -> None:
        """A text takes the place of the least one where it has a higher priority."""
        least, slot = self.priority.min(1)
        latents = (active & (priority > least)).nonzero()[:, 0]
        slot = slot[latents]
        self.priority[latents, slot] = priority[latents]
        self.activation[latents, slot] = found.value[latents]
        self.text[latents, slot] = found.text
        self.position[latents, slot] = found.position[found.at[latents]]
        self.window[latents, slot] = found.windows(latents)

    def contexts(self) -> LatentContexts:
        """In descending order of priority."""
        kept = LatentContexts(self.activation, self.text, self.position, self.window)
        return _rows(kept, self.priority.argsort(dim=1, descending=True, stable=True))
