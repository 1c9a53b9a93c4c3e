"""A dictionary of latents that the states at several sites share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.autoencoder import sparse_codes
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector
from workbench.models.sites import Site

Joint = Mapping[Site, Float[Tensor, "*item d"]]
"""States of the same tokens at several sites."""


@dataclass(frozen=True, eq=False)
class Crosscoder(Artifact):
    """Codes f = relu(sum over sites of x_s W_enc_s + b_enc) above `threshold`; reconstruction f W_dec_s + b_dec_s.

    With `k`, only the k largest codes are kept. What training did to the states (a scale for each site, the decoder's
    bias subtracted) is folded into the weights (Lindsey et al. 2024, "Sparse crosscoders for cross-layer features and
    model diffing", transformer-circuits.pub). A code needs the states of all sites at once, which no edit of one site
    sees: latents are written as vectors, and not clamped.

    Raises ArtifactError for fewer than two sites, other numbers of them in the arrays, arrays that are not finite, and
    a `k` outside 1..n_latents.
    """

    kind: ClassVar[str] = "crosscoder"
    sites: tuple[Site, ...]
    W_enc: Float[Tensor, "site d latent"]
    b_enc: Float[Tensor, "latent"]
    W_dec: Float[Tensor, "latent site d"]
    b_dec: Float[Tensor, "site d"]
    threshold: Float[Tensor, "latent"]
    k: int | None = None

    def __post_init__(self) -> None:
        if len({*self.sites}) < max(2, len(self.sites)) or len(self.sites) != len(self.b_dec):
            raise ArtifactError(
                f"a crosscoder of {', '.join(map(str, self.sites))} has arrays of {len(self.b_dec)} sites; it needs "
                "two or more, each once"
            )
        for name, array in self.tensors().items():
            if not bool(array.isfinite().all()):
                raise ArtifactError(f"{name} of the crosscoder of {self.sites[0]} has values that are not finite")
        if self.k is not None and not 1 <= self.k <= self.n_latents:
            raise ArtifactError(f"k of the crosscoder is {self.k}, expected 1 to {self.n_latents}")

    @property
    def n_latents(self) -> int:
        """How many latents there are."""
        return len(self.b_enc)

    @property
    def norms(self) -> Float[Tensor, "latent site"]:
        """How far a code of 1 moves each site's reconstruction, in activation units.

        A latent of one site has one length that is not near 0; a shared one has several.
        """
        return self.W_dec.float().norm(dim=2)

    def encode(self, states: Joint) -> Float[Tensor, "*item latent"]:
        """The codes of tokens from their states at all sites, in float32. Raises ArtifactError for a missing site."""
        if missing := [site for site in self.sites if site not in states]:
            raise ArtifactError(
                f"the states of {', '.join(map(str, missing))} are missing; a code is read from all sites"
            )
        read = [states[site].float() @ own.float() for site, own in zip(self.sites, self.W_enc, strict=True)]
        return sparse_codes(torch.stack(read).sum(0) + self.b_enc.float(), self.threshold.float(), self.k)

    def decode(self, codes: Float[Tensor, "*item latent"]) -> dict[Site, Float[Tensor, "*item d"]]:
        """What codes stand for at each site, in activation units and float32."""
        rows = zip(self.sites, self.W_dec.float().unbind(1), self.b_dec.float(), strict=True)
        return {site: codes.float() @ own + bias for site, own, bias in rows}

    def reconstruct(self, states: Joint) -> dict[Site, Float[Tensor, "*item d"]]:
        """decode(encode(states)). Raises as `encode`."""
        return self.decode(self.encode(states))

    def vector(self, number: int, site: Site | str | int, unit: float = 1.0) -> Vector:
        """A latent's decoder row at one site as a Vector: strength 1 adds `unit` of it.

        Raises ArtifactError for a latent or a site that is not there.
        """
        site = Site.parse(site)
        if site not in self.sites or not 0 <= number < self.n_latents:
            places = ", ".join(map(str, self.sites))
            raise ArtifactError(f"there is no latent {number} at {site}; there are {self.n_latents} at {places}")
        origin = replace(self.origin, concept=f"latent {number}")
        return Vector(origin, site, self.W_dec[number, self.sites.index(site)].float(), unit=unit)

    def adopt(self, model_name: str, model_digest: str) -> "Crosscoder":
        """The same crosscoder for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def tensors(self) -> dict[str, Tensor]:
        """The matrices, the biases and the thresholds."""
        return {name: getattr(self, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}

    def header(self) -> dict[str, Any]:
        """Sites and k."""
        return {"sites": [str(site) for site in self.sites], "k": self.k}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "Crosscoder":
        """The crosscoder from its file."""
        sites = tuple(Site.parse(name) for name in contents.items("sites", str))
        return cls(origin, sites, **contents.arrays(cls), k=contents.entry("k", int, NoneType))

    def _repr_html_(self) -> str:
        facts = {
            "sites": ", ".join(map(str, self.sites)),
            "latents": f"{self.n_latents} of width {self.W_enc.shape[1]}",
            "active": "above their thresholds" if self.k is None else f"the {self.k} largest",
        }
        return self._table(facts)
