"""What can be browsed: the latents of an autoencoder and the directions of a dictionary of concepts, alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.dictionary import Dictionary
from workbench.models.edits import Clamp, Edit
from workbench.models.sites import Site

Encode = Callable[[Tensor], Tensor]
"""From states [item, d] to activations [item, latent], 0 where a latent is silent."""


@dataclass(frozen=True, eq=False)
class LatentSet:
    """Latents at one site: how active they are in a state, and what they write."""

    title: str
    site: Site
    encode: Encode
    directions: Float[Tensor, "latent d_out"]
    clamp: Callable[[int, float], Edit]
    """The edit that sets a latent to a value, in the units of `encode`."""
    names: tuple[str, ...] = ()
    """What is known of each latent beforehand; empty where nothing is."""
    target: Site | None = None
    """Where directions are written, if not at the site."""

    def __len__(self) -> int:
        return len(self.directions)

    @classmethod
    def of(cls, dictionary: SparseAutoencoder | Dictionary) -> "LatentSet":
        """Of an autoencoder its codes; of a concept dictionary x . direction + bias where that is above 0."""
        if isinstance(dictionary, SparseAutoencoder):
            title = f"{dictionary.n_latents} latents of {dictionary.origin.model} at {dictionary.site}"
            return cls(title, dictionary.site, dictionary.encode, dictionary.W_dec.float(), dictionary.clamp,
                       target=dictionary.target)  # fmt: skip
        title = f"{len(dictionary)} directions of {dictionary.origin.method} in {dictionary.origin.model} at "
        names = tuple(map(_named, dictionary.names, dictionary.descriptions))
        return cls(f"{title}{dictionary.site}", dictionary.site, lambda x: dictionary.detect(x).relu().float(),
                   dictionary.directions.float(), _clamp_of(dictionary), names)  # fmt: skip

    def clamps(self, numbers: Sequence[int], values: Sequence[float]) -> list[Edit]:
        """An edit for each latent."""
        return [self.clamp(number, value) for number, value in zip(numbers, values, strict=True)]


def _named(name: str, description: str) -> str:
    return f"{name}: {description}" if description and description != name else name


def _clamp_of(dictionary: Dictionary) -> Callable[[int, float], Edit]:
    def clamp(number: int, value: float) -> Edit:
        vector = dictionary[number]
        direction = vector.direction.float()
        target = (value - vector.bias) / float(direction.norm())
        return Clamp(site=dictionary.site, direction=direction, target=target, model=dictionary.origin.model_digest)

    return clamp
