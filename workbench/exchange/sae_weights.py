"""What the files of all projects come to: the weights of a dictionary before anything is folded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.artifacts.artifact import Origin
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import ArtifactError
from workbench.models.sites import Site
from workbench.runs.files import canonical, file_digest

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class SaeWeights:
    """W_enc [d, latent], W_dec [latent, d_out], b_enc, b_dec, and what another project does around them.

    `make` checks them and gives the dictionary.
    """

    path: Path
    arrays: Mapping[str, Tensor]
    """May have a threshold [latent], and of a gate b_gate, b_mag and r_mag [latent] in place of b_enc."""
    site: Site
    centred: bool
    """Whether the decoder's bias is subtracted from what is read."""
    k: int | None = None
    by_norm: bool = False
    """Whether the k largest are chosen in units of decoder rows."""
    target: Site | None = None

    def make(self, project: str, settings: object, model: str, data: Path) -> SparseAutoencoder:
        """The dictionary, in float32. Raises ArtifactError naming the path for arrays that do not fit."""
        w = self._checked()
        limit = w.get("threshold", torch.zeros_like(w["b_dec"][:1]).expand(len(w["W_dec"])))
        encoder = w["W_enc"]
        if "r_mag" in w:
            stretch = w["r_mag"].exp()
            encoder, limit, bias = encoder * stretch, w["b_mag"] - stretch * w["b_gate"], w["b_mag"]
        else:
            bias = w["b_enc"]
        if self.centred:
            bias = bias - w["b_dec"] @ encoder
        norm = w["W_dec"].norm(dim=1) if self.by_norm else torch.ones_like(bias)
        norm = torch.where(norm > 0, norm, 1.0)
        arrays = {"W_enc": encoder * norm, "b_enc": bias * norm, "W_dec": w["W_dec"] / norm[:, None],
                  "b_dec": w["b_dec"], "threshold": limit * norm}  # fmt: skip
        origin = Origin(project, canonical(settings), None, model, "unknown", file_digest(data))
        single = {name: array.float().contiguous() for name, array in arrays.items()}
        try:
            made = SparseAutoencoder(origin, self.site, **single, k=self.k, target=self.target)
        except ArtifactError as error:
            raise ArtifactError(f"{self.path}: {error}") from error
        return made

    def _checked(self) -> dict[str, Tensor]:
        """The arrays in float64, each of the shape that the others ask for."""
        needed = {"W_enc", "W_dec", "b_dec"} | ({"b_gate", "b_mag"} if "r_mag" in self.arrays else {"b_enc"})
        if missing := needed - self.arrays.keys():
            raise ArtifactError(f"{self.path} has no {min(missing)}; it has {', '.join(sorted(self.arrays))}")
        for name, array in self.arrays.items():
            if array.dtype not in FLOATS or array.ndim != (2 if name.startswith("W_") else 1):
                raise ArtifactError(f"{self.path}: {name} is {array.dtype} {list(array.shape)}")
        d, n = self.arrays["W_enc"].shape
        for name, array in self.arrays.items():
            d_out = len(self.arrays["b_dec"])
            expected = {"W_enc": (d, n), "W_dec": (n, d_out), "b_dec": (d_out,)}.get(name, (n,))
            if tuple(array.shape) != expected:
                raise ArtifactError(f"{self.path}: {name} is {list(array.shape)}, expected {list(expected)}")
        if self.centred and d != len(self.arrays["b_dec"]):
            raise ArtifactError(f"{self.path}: a bias of {len(self.arrays['b_dec'])} is subtracted from states of {d}")
        return {name: array.double() for name, array in self.arrays.items()}


def site_of(name: object, path: Path) -> Site:
    """The site that a file names. Raises ArtifactError naming the path."""
    try:
        return Site.parse(name if isinstance(name, str) else f"{name}")
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}; give the `site` yourself") from error


def config_entry(config: Any, name: str, kind: type, path: Path) -> Any:
    """An entry of a file's configuration. Raises ArtifactError if it is absent or of another type."""
    value = config.get(name) if isinstance(config, dict) else None
    if type(value) is not kind:
        raise ArtifactError(f"{path}: {name} is {value!r:.60}, expected {kind.__name__}")
    return value


def refuse(path: Path, config: Mapping[str, Any], plain: Mapping[str, tuple[object, ...]]) -> None:
    """Raise ArtifactError for an option with another value than the plain ones: it would change what codes mean."""
    for name, values in plain.items():
        if config.get(name, values[0]) not in values:
            raise ArtifactError(f"{path} has {name} {config[name]!r}, which cannot be read; only {values[0]!r} can")


def refuse_thresholds(dictionary: SparseAutoencoder, project: str) -> None:
    """Raise ArtifactError for a TopK with thresholds, which no other project's TopK has: codes would change."""
    if dictionary.k and bool((dictionary.threshold > 0).any()):
        raise ArtifactError(f"{project} has no TopK with thresholds, as the one at {dictionary.site} is")


def bias_before_centering(dictionary: SparseAutoencoder) -> Tensor:
    """The encoder's bias for a project that subtracts the decoder's bias from what it reads."""
    bias = dictionary.b_enc.double() + dictionary.b_dec.double() @ dictionary.W_enc.double()
    return bias.float()


def of_model(dictionary: SparseAutoencoder, name: str, digest: str) -> SparseAutoencoder:
    """The dictionary as one of a model that is at hand."""
    return replace(dictionary, origin=replace(dictionary.origin, model=name, model_digest=digest))
