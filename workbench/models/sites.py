"""Names of the places in a model, as TransformerLens writes them: `blocks.12.hook_resid_post`."""

import re
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Literal

from workbench.arguments import unlike, whole
from workbench.text import did_you_mean

DEPTH = 0.6
"""How deep a model is read by default, as a fraction of its blocks."""
_STREAMS = {
    "resid_pre": "hook_resid_pre",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "z": "attn.hook_z",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
}
_HOOKS = {hook: stream for stream, hook in _STREAMS.items()}
_COMPUTED = ("resid_pre", "q", "k", "v", "z", "attn_out", "mlp_out", "resid_post")
"""The streams of a block in the order in which it has them; where attention and MLP lie side by side, nearly so."""
_NAME = re.compile(r"blocks\.(\d+)\.([A-Za-z_][\w.]*)(?:\[(head|coordinate)s? (\d+(?:, ?\d+)*)\])?")


class SiteError(ValueError):
    """A site that this model does not have, or that nothing it can be read or edited at stands for."""


@dataclass(frozen=True)
class Part:
    """Some numbers of a state: whole heads, where heads lie side by side as in `z`, or single coordinates.

    Raises ValueError for no whole numbers, or one that is negative or there twice.
    """

    kind: Literal["head", "coordinate"]
    numbers: tuple[int, ...]
    n_heads: int | None = None
    """How many heads the state has, which only the model knows."""

    def __post_init__(self) -> None:
        hint = f"whole numbers one after the other, as in site.{self.kind}(1, 2)"
        numbers = tuple(whole(f"a {self.kind} of a site", number, hint) for number in self.numbers)
        object.__setattr__(self, "numbers", numbers)
        if not self.numbers or len(set(self.numbers)) < len(self.numbers) or min(self.numbers) < 0:
            raise ValueError(f"a part of a state is distinct {self.kind}s, counted from 0; got {list(self.numbers)}")

    def columns(self, width: int) -> tuple[int, ...]:
        """The coordinates of this part in a state of `width` numbers. Raises SiteError for what lies outside."""
        if self.kind == "coordinate":
            columns = self.numbers
        elif not self.n_heads or width % self.n_heads:
            raise SiteError(f"[{self}]: heads lie side by side in a Model's z, q, k and v, and in no other state")
        else:
            d_head = width // self.n_heads
            columns = tuple(head * d_head + k for head in self.numbers for k in range(d_head))
        if max(columns) >= width:
            raise SiteError(f"[{self}] ends at coordinate {max(columns)}, but the state there has {width}")
        return columns

    def __str__(self) -> str:
        return f"{self.kind} {','.join(map(str, self.numbers))}"


@dataclass(frozen=True)
class Site:
    """A place in the model: the `stream` of block `layer` (0-based).

    `stream` is a short name (`resid_pre`, `resid_post`, `attn_out`, `mlp_out`, `z`, `q`, `k`, `v`) or
    any other TransformerLens hook name inside a block, such as `mlp.hook_post`. The residual stream after block L is
    `Site(L)`; it equals Hugging Face's `hidden_states[L + 1]`, except after the last block, where Hugging Face
    returns the state after the final norm. `Site(5, "z").head(3)`, `blocks.5.attn.hook_z[head 3]`, is one head of it.

    Raises ValueError for a layer that is no whole number or negative, and SiteError for a stream that is none of these
    names and no hook's.
    """

    layer: int
    stream: str = "resid_post"
    part: Part | None = None

    def __post_init__(self) -> None:
        hint = (
            "a block's number, as in Site(18); Site.parse reads names, and model.site() is the one at 0.6 of the depth"
        )
        object.__setattr__(self, "layer", whole("the layer of a Site", self.layer, hint))
        if self.layer < 0:
            raise ValueError(f"layer {self.layer} of a Site is negative; layers count from 0")
        if not isinstance(self.stream, str):
            raise SiteError(unlike("the stream of a Site", self.stream, f"one of {', '.join(_STREAMS)}"))
        if self.stream not in _STREAMS and "hook_" not in self.stream:
            raise SiteError(
                f"there is no stream {self.stream!r}{did_you_mean(self.stream, _STREAMS)}; give one of "
                f"{', '.join(_STREAMS)}, or the name of a hook inside a block, such as mlp.hook_post"
            )
        object.__setattr__(self, "stream", _HOOKS.get(self.stream, self.stream))

    @property
    def hook(self) -> str:
        """The hook's name inside its block, such as `attn.hook_z`."""
        return _STREAMS.get(self.stream, self.stream)

    def follows(self, other: "Site") -> bool:
        """Whether the model has this place only after the other one, as far as their names say."""
        if self.layer != other.layer or not {self.stream, other.stream} <= {*_COMPUTED}:
            return self.layer > other.layer
        return _COMPUTED.index(self.stream) > _COMPUTED.index(other.stream)

    @property
    def whole(self) -> "Site":
        """The same place without a part."""
        return replace(self, part=None)

    def holds(self, other: "Site") -> bool:
        """Whether all that lies at the other place lies here: a block's input is the output of the block before."""
        if self.part is None or other.part is None:
            return self._place == other._place and self.part is None
        within = {*other.part.numbers} <= {*self.part.numbers}
        return self._place == other._place and self.part.kind == other.part.kind and within

    def overlaps(self, other: "Site") -> bool:
        """Whether something may lie at both: two heads do not overlap, a head and a coordinate may."""
        if self._place != other._place:
            return False
        parts = self.part, other.part
        if parts[0] is None or parts[1] is None or parts[0].kind != parts[1].kind:
            return True
        return not {*parts[0].numbers}.isdisjoint(parts[1].numbers)

    @property
    def _place(self) -> tuple[int, str]:
        return (self.layer - 1, "resid_post") if self.stream == "resid_pre" else (self.layer, self.stream)

    def head(self, *numbers: int) -> "Site":
        """Some heads of this place."""
        return replace(self, part=Part("head", numbers))

    def coordinate(self, *numbers: int) -> "Site":
        """Some coordinates of this place."""
        return replace(self, part=Part("coordinate", numbers))

    def __lt__(self, other: "Site") -> bool:
        return (self.layer, self.stream, str(self.part)) < (other.layer, other.stream, str(other.part))

    def __str__(self) -> str:
        return f"blocks.{self.layer}.{self.hook}{f'[{self.part}]' if self.part else ''}"

    @classmethod
    def parse(cls, name: "str | int | Site") -> "Site":
        """Read `blocks.12.hook_resid_post`, or `blocks.12.attn.hook_z[head 3]`; 12 is Site(12), and a Site is itself.

        Raises ValueError on anything else.
        """
        if isinstance(name, Site):
            return name
        if isinstance(name, Integral) and not isinstance(name, bool):
            return cls(int(name))
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        if found is None:
            raise ValueError(
                f"{name!r:.80} names no site; write it as TransformerLens does, blocks.12.hook_resid_post, or the "
                "number of a block, 12; model.site() is the place at 0.6 of the depth"
            )
        return cls(int(found[1]), found[2], _part(found[3], found[4]))

    @classmethod
    def at_depth(cls, fraction: float, n_layers: int, stream: str = "resid_post") -> "Site":
        """The site at a fraction of the depth: 0.6 of 30 layers is block 18."""
        if not isinstance(fraction, Real) or not 0 <= fraction <= 1:
            raise ValueError(
                f"depth {fraction!r} is not between 0 and 1; the place of a block by its number is Site(12)"
            )
        return cls(min(int(fraction * n_layers), n_layers - 1), stream)


def _part(kind: str | None, numbers: str | None) -> Part | None:
    if kind is None or numbers is None:
        return None
    return Part("head" if kind == "head" else "coordinate", tuple(int(number) for number in numbers.split(",")))
