"""What a dictionary is and how it is trained."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from workbench.models.sites import Site
from workbench.runs.fields import SEED, above, at_least, check_distinct, check_fields

DictionaryArchitecture = Literal["standard", "topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated"]
COMPETING = ("topk", "batchtopk", "matryoshka_batchtopk")
"""Architectures that fix how many latents are active; the others have a penalty."""


@dataclass(frozen=True)
class DictionaryConfig:
    """One dictionary. Coefficients are for states scaled to a mean length of sqrt(d), see `normalise`.

    Raises ValueError for values outside their limits, and for prefixes that do not fit the architecture.
    """

    architecture: DictionaryArchitecture = "topk"
    n_latents: Annotated[int, at_least(1)] = 4608
    k: Annotated[int, at_least(1)] = 32
    """TopK and BatchTopK: how many latents of a state are active, exactly or on average."""
    prefixes: Annotated[tuple[int, ...], at_least(1)] = ()
    """Matryoshka: the numbers of latents that must each reconstruct by themselves, ascending; `n_latents` is added."""
    sparsity: Annotated[float, at_least(0)] = 1.0
    """The penalty's coefficient: on the L1 norm (standard, gated) or the number (jumprelu) of active latents."""
    sparsity_warmup: Annotated[int, at_least(0)] = 0
    """Steps over which the penalty grows from 0."""
    bandwidth: Annotated[float, above(0)] = 0.05
    """JumpReLU: how far from the threshold codes still move it."""
    threshold: Annotated[float, above(0)] = 0.01
    """JumpReLU: the thresholds to begin with."""
    dead_after: Annotated[int | None, at_least(1)] = None
    """A latent that was not active in so many steps is dead; by default in an eighth of all steps."""
    aux: Annotated[float, at_least(0)] = 1.0
    """TopK, BatchTopK: the coefficient of AuxK, which revives dead latents."""
    pre_activation: Annotated[float, at_least(0)] = 3e-6
    """JumpReLU: the coefficient of the pre-activation loss, which revives dead latents."""
    site: Site | None = None
    """Where states are read; by default the stream's first site."""
    target: Site | None = None
    """The site whose states a transcoder predicts; an autoencoder reconstructs those it reads."""
    across: tuple[Site, ...] = ()
    """Further sites: a crosscoder reads and reconstructs the states of `site` and of all of these together."""
    normalise: bool = True
    """Scale states to a mean length of sqrt(d) in training; the scale is folded into the finished dictionary."""
    decoder_norm: Annotated[float, above(0)] = 0.1
    """The length of the decoder's rows to begin with."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the encoder's matrix product; all else is float32."""
    n_steps: Annotated[int, at_least(1)] = 1000
    learning_rate: Annotated[float, above(0)] = 3e-4
    warmup_steps: Annotated[int, at_least(0)] = 0
    """Steps over which the learning rate grows from 0."""
    decay_steps: Annotated[int, at_least(0)] = 0
    """Last steps, over which the learning rate falls to 0."""
    clip_norm: Annotated[float, above(0)] = 1.0
    """The longest gradient that is used as it is."""
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.architecture in COMPETING and self.k > self.n_latents:
            raise ValueError(f"k is {self.k}, more than the {self.n_latents} latents")
        widths = self.widths
        if (len(widths) > 1) != (self.architecture == "matryoshka_batchtopk"):
            raise ValueError(f"prefixes are {self.prefixes}; matryoshka_batchtopk needs some, {self.architecture} none")
        check_distinct("across", self.across if self.site is None else (self.site, *self.across))
        if self.across and self.target:
            raise ValueError(f"across is {self.across} and target {self.target}; a crosscoder predicts what it reads")
        if any(one >= other for one, other in pairwise(widths)):
            raise ValueError(f"prefixes are {self.prefixes}; expected ascending numbers below {self.n_latents}")

    @property
    def patience(self) -> int:
        """The steps without activity after which a latent is dead."""
        return max(1, self.n_steps // 8) if self.dead_after is None else self.dead_after

    @property
    def widths(self) -> tuple[int, ...]:
        """The prefixes, and all latents."""
        return self.prefixes if self.n_latents in self.prefixes else (*self.prefixes, self.n_latents)

    @property
    def reads(self) -> tuple[Site, ...]:
        """The sites whose states are read, side by side. Raises ValueError without a site."""
        if self.site is None:
            raise ValueError("say at which `site` the dictionary reads; only a stream has a first one")
        return self.site, *self.across

    @property
    def predicts(self) -> tuple[Site, ...]:
        """The sites whose states are predicted, side by side. Raises as `reads`."""
        return (self.target,) if self.target else self.reads
