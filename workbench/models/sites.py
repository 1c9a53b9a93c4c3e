"""Names of the places in a model, as TransformerLens writes them: `blocks.12.hook_resid_post`."""

import re
from dataclasses import dataclass

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
_NAME = re.compile(r"blocks\.(\d+)\.([A-Za-z_][\w.]*)")


class SiteError(ValueError):
    """A site that this model does not have, or that nothing it can be read or edited at stands for."""


@dataclass(frozen=True, order=True)
class Site:
    """A place in the model: the `stream` of block `layer` (0-based).

    `stream` is a short name (`resid_pre`, `resid_post`, `attn_out`, `mlp_out`, `z`, `q`, `k`, `v`) or
    any other TransformerLens hook name inside a block, such as `mlp.hook_post`. The residual stream after block L is
    `Site(L)`; it equals Hugging Face's `hidden_states[L + 1]`, except after the last block, where Hugging Face
    returns the state after the final norm.
    """

    layer: int
    stream: str = "resid_post"

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise ValueError(f"layer {self.layer} of a Site is negative; layers count from 0")
        object.__setattr__(self, "stream", _HOOKS.get(self.stream, self.stream))

    @property
    def hook(self) -> str:
        """The hook's name inside its block, such as `attn.hook_z`."""
        return _STREAMS.get(self.stream, self.stream)

    def __str__(self) -> str:
        return f"blocks.{self.layer}.{self.hook}"

    @classmethod
    def parse(cls, name: "str | Site") -> "Site":
        """Read `blocks.12.hook_resid_post`; a Site is returned as it is. Raises ValueError on any other text."""
        if isinstance(name, Site):
            return name
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name!r} names no site; write it as TransformerLens does, blocks.12.hook_resid_post")
        return cls(int(found[1]), found[2])

    @classmethod
    def at_depth(cls, fraction: float, n_layers: int, stream: str = "resid_post") -> "Site":
        """The site at a fraction of the depth: 0.6 of 30 layers is block 18."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"depth {fraction} is not between 0 and 1")
        return cls(min(int(fraction * n_layers), n_layers - 1), stream)
