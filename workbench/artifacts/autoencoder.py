"""A dictionary of latents: an encoder that reads sparse codes out of a hidden state, and a decoder that writes them."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from types import NoneType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector
from workbench.models.edits import Bound, Clamp, Edit, Replace
from workbench.models.parts import Competition, Latents
from workbench.models.positions import ALL, Layout, Positions
from workbench.models.sites import Site


def sparse_codes(
    pre: Float[Tensor, "*item latent"], threshold: Float[Tensor, "latent"], k: int | None
) -> Float[Tensor, "*item latent"]:
    """What an encoder says, where that is above 0 and the threshold; with `k`, the k largest of each state."""
    codes = pre.relu() * (pre > threshold)
    if k is None:
        return codes
    values, numbers = codes.topk(k, dim=-1)
    return torch.zeros_like(codes).scatter(-1, numbers, values)


@dataclass(frozen=True, eq=False)
class SparseAutoencoder(Artifact):
    """Codes f = relu(x W_enc + b_enc) where that is above `threshold`; reconstruction f W_dec + b_dec.

    With `k`, only the k largest codes of a state are kept (TopK, arXiv:2406.04093). Every trained architecture has this
    form: a ReLU has thresholds of 0, JumpReLU (arXiv:2407.14435) its own, BatchTopK (arXiv:2412.06410) one for all,
    and a gate (arXiv:2404.16014) is a threshold too. What training did to the states before (an activation scale, the
    decoder's bias subtracted) is folded into the weights, so `encode` takes states as the model has them.
    A transcoder (arXiv:2406.11944) reads `site` and predicts the state at `target`.

    Raises ArtifactError for arrays that are not finite, and for a `k` outside 1..n_latents.
    """

    kind: ClassVar[str] = "sparse_autoencoder"
    site: Site
    W_enc: Float[Tensor, "d latent"]
    b_enc: Float[Tensor, "latent"]
    W_dec: Float[Tensor, "latent d_out"]
    b_dec: Float[Tensor, "d_out"]
    threshold: Float[Tensor, "latent"]
    k: int | None = None
    target: Site | None = None
    """The other site that a transcoder's reconstruction belongs to."""

    def __post_init__(self) -> None:
        for name, array in self.tensors().items():
            if not bool(array.isfinite().all()):
                raise ArtifactError(f"{name} of the dictionary at {self.site} has values that are not finite")
        if self.k is not None and not 1 <= self.k <= self.n_latents:
            raise ArtifactError(f"k of the dictionary at {self.site} is {self.k}, expected 1 to {self.n_latents}")

    @property
    def n_latents(self) -> int:
        """How many latents there are."""
        return len(self.b_enc)

    @property
    def d_in(self) -> int:
        """Width of the states that are read."""
        return len(self.W_enc)

    def encode(self, x: Float[Tensor, "*item d"]) -> Float[Tensor, "*item latent"]:
        """The codes of states, in float32."""
        arrays = self._float32(x.device)
        return sparse_codes(x.float() @ arrays["W_enc"] + arrays["b_enc"], arrays["threshold"], self.k)

    def decode(self, codes: Float[Tensor, "*item latent"]) -> Float[Tensor, "*item d_out"]:
        """What codes stand for, in activation units and float32."""
        arrays = self._float32(codes.device)
        return codes.float() @ arrays["W_dec"] + arrays["b_dec"]

    def reconstruct(self, x: Float[Tensor, "*item d"]) -> Float[Tensor, "*item d_out"]:
        """decode(encode(x))."""
        return self.decode(self.encode(x))

    def latents(self, *numbers: int) -> Latents:
        """Some latents as a part of the state, for any edit; writing them keeps what the dictionary leaves unexplained.

        Raises ArtifactError for a number that is not there, and for a transcoder, whose latents write elsewhere.
        """
        self._check_editable(numbers)
        rows = list(numbers)
        return Latents(
            self.W_enc[:, rows].mT.contiguous(),
            self.W_dec[rows],
            self.b_enc[rows],
            self.threshold[rows],
            self._rivals,
        )

    def clamp(
        self,
        number: int,
        value: float,
        *,
        bound: Bound = "exactly",
        strength: float = 1.0,
        positions: Positions | str = ALL,
    ) -> Clamp:
        """Set a latent to `value` (or at least, or at most), and leave all else of the state: h + (value - f) W_dec.

        Raises as `latents`.
        """
        return Clamp(**self._place(positions), part=self.latents(number), direction=torch.ones(1), target=value,
                     bound=bound, strength=strength)  # fmt: skip

    def ablate(self, *numbers: int, positions: Positions | str = ALL) -> Replace:
        """Set latents to 0, and leave all else of the state. Raises as `latents`."""
        return Replace(**self._place(positions), part=self.latents(*numbers), value=torch.zeros(len(numbers)))

    def replacement(
        self, codes: dict[int, float] | None = None, *, positions: Positions | str = ALL, strength: float = 1.0
    ) -> "Reconstruct":
        """Put the reconstruction in place of the state, with some latents set to given values: no error term.

        Raises as `latents`.
        """
        codes = codes or {}
        self._check_editable(tuple(codes))
        return Reconstruct(
            **self._place(positions), strength=strength, autoencoder=self, numbers=tuple(codes),
            values=torch.tensor(list(codes.values()), dtype=torch.float32),
        )  # fmt: skip

    def vector(self, number: int, unit: float = 1.0) -> Vector:
        """The decoder's row of a latent as a Vector: strength 1 adds `unit` of it. Raises as `latents`."""
        self._check_editable((number,))
        origin = replace(self.origin, concept=f"latent {number}")
        return Vector(origin, self.site, self.W_dec[number].float(), unit=unit)

    def adopt(self, model_name: str, model_digest: str) -> "SparseAutoencoder":
        """The same dictionary for another model: says that you know that the two share their representation."""
        return replace(self, origin=replace(self.origin, model=model_name, model_digest=model_digest))

    def with_unit_rows(self) -> "SparseAutoencoder":
        """The same function with decoder rows of unit length, so that a code is a length in activation units.

        Rows of length 0 stay. Raises ArtifactError with a `k`, where it would choose other latents.
        """
        norm = self.W_dec.double().norm(dim=1)
        if self.k is not None and not torch.allclose(norm, torch.ones_like(norm), atol=1e-3):
            raise ArtifactError(f"the {self.k} largest latents at {self.site} depend on the lengths of decoder rows")
        norm = torch.where(norm > 0, norm, 1.0)
        scaled = {"W_enc": self.W_enc.double() * norm, "b_enc": self.b_enc.double() * norm}
        scaled |= {"threshold": self.threshold.double() * norm, "W_dec": self.W_dec.double() / norm[:, None]}
        return replace(self, **{name: array.to(getattr(self, name).dtype) for name, array in scaled.items()})

    def to_dtype(self, dtype: torch.dtype) -> "SparseAutoencoder":
        """With arrays of another precision, for example float16 for half the file."""
        return replace(self, **{name: array.to(dtype) for name, array in self.tensors().items()})

    def _place(self, positions: Positions | str) -> dict[str, Any]:
        return {"site": self.site, "positions": Positions.parse(positions), "model": self.origin.model_digest}

    def _check_editable(self, numbers: tuple[int, ...]) -> None:
        if self.target is not None:
            raise ArtifactError(f"a transcoder from {self.site} to {self.target} does not describe the state it reads")
        for number in numbers:
            if not 0 <= number < self.n_latents:
                raise ArtifactError(f"there is no latent {number}; the dictionary has 0 to {self.n_latents - 1}")

    @cached_property
    def _rivals(self) -> Competition | None:
        return None if self.k is None else Competition(self.W_enc.mT, self.b_enc, self.threshold, self.k)

    def _float32(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._arrays:
            self._arrays[device] = {name: array.to(device).float() for name, array in self.tensors().items()}
        return self._arrays[device]

    @cached_property
    def _arrays(self) -> dict[torch.device, dict[str, Tensor]]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Both matrices, both biases and the thresholds."""
        return {name: getattr(self, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}

    def header(self) -> dict[str, Any]:
        """Sites and k."""
        return {"site": str(self.site), "target": str(self.target or self.site), "k": self.k}

    @classmethod
    def restore(cls, contents: Contents, origin: Origin) -> "SparseAutoencoder":
        """The dictionary from its file."""
        site, target = contents.site(), Site.parse(contents.entry("target", str))
        k, other = contents.entry("k", int, NoneType), None if target == site else target
        return cls(origin, site, **contents.arrays(cls), k=k, target=other)

    def _repr_html_(self) -> str:
        facts = {
            "site": self.site if self.target is None else f"{self.site} to {self.target}",
            "latents": f"{self.n_latents} of width {self.d_in}",
            "active": "above their thresholds" if self.k is None else f"the {self.k} largest",
        }
        return self._table(facts)


@dataclass(frozen=True, eq=False, kw_only=True)
class Reconstruct(Edit):
    """The reconstruction in place of the state, with the latents `numbers` set to `values`.

    Raises ValueError for a part, and values for another number of latents.
    """

    autoencoder: SparseAutoencoder
    numbers: tuple[int, ...] = ()
    values: Float[Tensor, "*_row latent"] = field(default_factory=lambda: torch.zeros(0), metadata={"ndim": 1})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part is not None or self.values.shape[-1] != len(self.numbers):
            raise ValueError(
                f"the Reconstruct at {self.site} puts a whole state in place, {len(self.numbers)} latents set; got the "
                f"part {self.part} and {self.values.shape[-1]} values"
            )

    def delta(self, h: Float[Tensor, "batch pos d"], layout: Layout) -> Float[Tensor, "batch pos d"]:
        """The way from the state to its reconstruction."""
        codes = self.autoencoder.encode(h)
        if self.numbers:
            values = self.of_rows(self.values, layout, 1).reshape(-1, 1, len(self.numbers))
            codes[..., list(self.numbers)] = values.expand(*codes.shape[:2], -1)
        return self.autoencoder.decode(codes) - h.float()
