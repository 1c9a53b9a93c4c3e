"""What the bench needs of a network, and nothing else: whoever keeps this protocol can be read, edited and trained.

Arrays cross it as torch tensors on the backend's `device`. No class of a network library does: places are named by
Sites, and nothing is found by the name of a module. `huggingface.py` is the implementation.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.models.positions import Layout
from workbench.models.sites import Site

Change = Callable[[Tensor], Tensor | None]
"""Sees the hidden state [batch, pos, d]; returns a new one to put in its place, or None to leave it."""


@dataclass(frozen=True)
class InputOutputHook:
    """A hook at the input of a linear map that changes the map's output, having seen both.

    It sees the input as the map does, after all changes made to it.
    """

    change: Callable[[Tensor, Tensor], Tensor]
    """From input [batch, pos, d_in] and output [batch, pos, d_out] to a new output."""


Hook = Change | InputOutputHook
"""What is done at a point in each forward pass."""

HookPoint = Site | Literal["unembed.hook_in", "unembed.hook_out"]
"""Where a hook can be: at a site, or at the unembedding's input (the state after the final norm) or output."""


CacheKind = Literal["keys", "states", "none"]
"""What a network keeps of the tokens that it has run.

"keys": keys and values of every token, and nothing else: rows can be chosen and joined, a beginning can be shared, and
any number of columns can follow. "states": also, or instead, states that each token changes: rows can be chosen, one
column follows at a time, and nothing is shared. In both, left padding leaves no trace in the rows. "none": nothing that
could be chosen from or that padding would leave as it is; each step reads the whole text again, padded on the right.
"""


@runtime_checkable
class Cache(Protocol):
    """Keys and values, or other states, of the tokens that a row has run through the network."""

    def select(self, rows: Int[Tensor, "kept"]) -> None:
        """Keep these rows only, in place."""
        ...

    def rewind(self, n_columns: int) -> None:
        """Let what runs next go behind the first columns, of any blocks; of keys and values only.

        Blocks that have run further columns keep them until they run others there.
        """
        ...

    def shift(self, by: Int[Tensor, "row"]) -> None:
        """Move each row to the right by some columns; of keys and values only.

        Its last columns are lost, and nobody may attend to the first ones.
        """
        ...

    def join(self, other: "Cache", n_columns: int) -> None:
        """Put the rows of another cache of the same network behind these, in place.

        Both end at the same column. Each is cut on its left, or filled up with columns that nobody attends to, so that
        it has `n_columns`. Raises ValueError for a network whose states cannot be aligned so.
        """
        ...

    def shared(self, rows: Int[Tensor, "batch"] | None = None) -> "Cache | None":
        """A cache that no forward pass changes, for a batch whose rows go on from the rows named.

        Without `rows`, of a cache of one row, for every row of any batch. None for a network that keeps anything else
        than the keys and values of every token.
        """
        ...


@dataclass(frozen=True, eq=False)
class Output:
    """What one forward pass gives."""

    logits: Float[Tensor, "batch pos vocab"]
    """In the network's dtype; of the columns that were asked for."""
    cache: Cache | None
    """None if it was not to be kept, or the network has none."""


@dataclass(frozen=True)
class Facts:
    """What a network says of itself."""

    family: str
    """What other projects call networks of its kind, such as llama."""
    n_layers: int
    """Number of blocks."""
    d_model: int
    """Width of the residual stream."""
    heads: Mapping[str, int]
    """How many heads lie side by side in each stream that has heads, such as z: 9 and k: 3."""
    context: int | None
    """The longest text that the network was made for, in tokens, if it says."""
    dtype: torch.dtype
    """The precision that the residual stream is computed in."""
    device: torch.device
    """Where the weights are."""
    end_ids: frozenset[int]
    """The tokens that end a text, as far as the network's own configuration names them."""
    cache: CacheKind
    """What `forward` can give back and be continued with."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The matrices that words are read and written by. `input` is as stored: `Backend.embed` may scale its rows."""

    input: Float[Tensor, "vocab d"]
    output: Float[Tensor, "vocab d"]
    """The unembedding."""
    bias: Float[Tensor, "vocab"] | None
    """What the unembedding adds to each logit."""
    tied: bool
    """Whether the two are one matrix."""


@dataclass(frozen=True)
class LinearMap:
    """A linear map of the network: its name among the parameters, its widths, and how its weight is stored."""

    name: str
    d_in: int
    d_out: int
    transposed: bool
    """Whether the weight is kept as [d_in, d_out], as GPT-2 has it, and not as [d_out, d_in]."""


@runtime_checkable
class Backend(Protocol):
    """A causal language model that can be looked into."""

    def facts(self) -> Facts:
        """Sizes, precision, device and end of text."""
        ...

    def embeddings(self) -> Embeddings:
        """The matrices of the vocabulary, as they are: not copied."""
        ...

    def embed(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape d"]:
        """What the network reads a token as, before it adds anything about the token's place."""
        ...

    def forward(
        self,
        layout: Layout,
        *,
        attended: Bool[Tensor, "batch _"] | None = None,
        cache: Cache | None = None,
        keep_cache: bool = False,
        n_logits: int | None = None,
    ) -> Output:
        """Run the columns of `layout`, after those in `cache`; gradients are recorded as PyTorch is set.

        `attended` marks the real tokens of cache and layout together; by default those of the layout. Only the last
        `n_logits` columns get logits, or all of them. A `cache` is continued in place, and given back; one that holds
        recurrent states is continued by one column at a time, else ValueError. No cache is kept where `Facts.cache` is
        "none".
        """
        ...

    def empty_cache(self) -> Cache:
        """A cache that has seen nothing. Raises ValueError unless `Facts.cache` is "keys"."""
        ...

    def hooked(self, hooks: Sequence[tuple[HookPoint, Hook]]) -> AbstractContextManager[None]:
        """Inside the `with`, every hook sees its point in each forward pass of this thread, in the order given.

        Raises SiteError, before anything is hooked, for a point that the network does not have and for an
        InputOutputHook where no linear map reads; from the forward pass, for a point whose state is not one vector a
        token. No hook is left behind, whatever is raised.
        """
        ...

    def run_from_layer(self, layer: int, states: Float[Tensor, "batch pos d"]) -> AbstractContextManager[None]:
        """Inside the `with`, forward passes take `states` as the output of block `layer` and run what is above.

        Hooks at `layer` and above act as usual. Raises IndexError for a block that the network does not have, and
        SiteError where a block's output is no residual stream, or not all that the blocks above need of those below.
        """
        ...

    def linear_map(self, site: Site) -> LinearMap:
        """The linear map whose input `site` is.

        Raises SiteError if the network has no such site, or what reads there is not one matrix, as fused experts are.
        """
        ...

    def parameters(self) -> Mapping[str, Tensor]:
        """All weights by name, as they are: not copied."""
        ...

    def block_parameters(self, layer: int) -> Mapping[str, Tensor]:
        """Those of one block. Raises IndexError for a block that the network does not have."""
        ...

    def with_weights(self, weights: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside the `with`, these tensors are in the place of the weights of their names, in the network's precision.

        They may ask for gradients; no weight of the network's own does. What is tied to a named weight follows it. The
        network's own weights are back afterwards, bit for bit. Raises ValueError for a name or shape it does not have.
        """
        ...

    @property
    def exchanged(self) -> bool:
        """Whether this thread is inside `with_weights` or `run_from_layer`, so that `digest` is not of what runs."""
        ...

    def gradient_checkpointing(self) -> AbstractContextManager[None]:
        """Inside the `with`, a block keeps only what goes into it, and runs again in the backward pass.

        That has to happen inside too, and under the hooks, weights and stored states of the forward pass: a hook inside
        a block then sees its state twice. Gradients are the same bits.
        """
        ...

    def randomised(self, seed: int) -> "Backend":
        """A network of the same architecture, precision and device with weights freshly drawn from `seed`."""
        ...

    def digest(self) -> str:
        """sha256 of all weights and of the configuration that decides what they compute; takes a while."""
        ...

    def bridge(self, name: str) -> Any:
        """A TransformerLens bridge that shares the weights. Raises NotImplementedError where there is none."""
        ...
