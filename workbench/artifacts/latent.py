"""One latent of a dictionary, cut out of it, as what reads and writes a concept."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import ArtifactError, Contents
from workbench.models.sites import Site


@dataclass(frozen=True, eq=False)
class SparseLatent(Artifact):
    """A latent alone, as a dictionary of one: reads as its code, writes along its row of the decoder.

    The row has unit length, so a code is a length in activation units. `unit` is what strength 1 adds of it, or sets
    the code to. In a TopK dictionary the latent does not compete here: its code is there whether or not others are
    larger.

    Raises ArtifactError for a row of length 0 and a unit that is not above 0.
    """

    kind: ClassVar[str] = "sparse_latent"
    number: int
    """Of the latent in the dictionary that it was taken from."""
    dictionary: str
    """The `content_digest` of that dictionary."""
    alone: SparseAutoencoder
    """The dictionary of this latent only."""
    unit: float = 1.0

    def __post_init__(self) -> None:
        length = float(self.alone.W_dec.double().norm())
        if self.alone.n_latents != 1 or abs(length - 1) > 1e-3:
            raise ArtifactError(
                f"latent {self.number} for {self.origin.label!r} has {self.alone.n_latents} decoder rows, of length "
                f"{length:g}; expected one of length 1"
            )
        if not self.unit > 0:
            raise ArtifactError(f"the unit of latent {self.number} is {self.unit}, expected more than 0")

    @classmethod
    def of(cls, dictionary: SparseAutoencoder, number: int, origin: Origin, unit: float = 1.0) -> "SparseLatent":
        """A latent of a dictionary, for the model that `origin` names. Raises as `SparseAutoencoder.latents`."""
        part = dictionary.latents(number)
        alone = SparseAutoencoder(
            origin,
            dictionary.site,
            W_enc=part.encoder.mT.float(),
            b_enc=part.bias.float(),
            W_dec=part.decoder.float(),
            b_dec=torch.zeros_like(dictionary.b_dec, dtype=torch.float32),
            threshold=dictionary.threshold[[number]].float(),
        )
        return cls(origin, number, dictionary.content_digest, alone.with_unit_rows(), unit)

    @property
    def site(self) -> Site:
        """Where it is read and written."""
        return self.alone.site

    @property
    def direction(self) -> Float[Tensor, "d"]:
        """What is written, at unit length."""
        return self.alone.W_dec[0]

    def detect(self, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """The code of each state, in activation units."""
        return self.alone.encode(x)[:, 0]

    def with_unit(self, unit: float) -> "SparseLatent":
        """The same with another unit."""
        return replace(self, unit=unit)

    def tensors(self) -> dict[str, Tensor]:
        """Those of the dictionary of one."""
        return self.alone.tensors()

    def header(self) -> dict[str, Any]:
        """Site, number, dictionary and unit."""
        return {"site": str(self.site), "number": self.number, "dictionary": self.dictionary, "unit": self.unit}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "SparseLatent":
        """The latent from its file."""
        alone = SparseAutoencoder(origin, contents.site(), **contents.arrays(SparseAutoencoder), k=None, target=None)
        number, dictionary = contents.entry("number", int), contents.entry("dictionary", str)
        return cls(origin, number, dictionary, alone, contents.number("unit"))

    def _repr_html_(self) -> str:
        facts = {
            "site": self.site,
            "latent": f"{self.number} of dictionary {self.dictionary[:12]}",
            "unit": f"{self.unit:.2f} activation units at strength 1",
        }
        return self._table(facts)
