"""Forward passes with gradients: only the blocks above stored states, only the tokens behind a shared prefix."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice, takewhile
from types import MappingProxyType
from typing import Any, no_type_check

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from workbench.models.backend import Cache
from workbench.models.core import Core
from workbench.models.edits import Edit
from workbench.models.positions import Layout
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

PASS_TOKENS = 128
"""What rows share runs by itself where that saves so many tokens: a pass reads all weights however few it has."""

_NONE: Mapping[str, Tensor] = MappingProxyType({})


class PassEnded(Exception):
    """Leaves a forward pass that has nothing more to give."""


@contextmanager
def run_to_layer(model: Core, layer: int | None) -> Iterator[None]:
    """A forward pass, the last thing in the `with`, ends behind block `layer` and gives nothing; at None it is whole.

    What hooks took from it before is differentiable, and a cache has the keys of the blocks that ran.
    """

    def end(_: Tensor) -> None:
        raise PassEnded

    with model.backend.hooked([] if layer is None else [(Site(layer), end)]), suppress(PassEnded):
        yield


def run_from_layer(model: Core, layer: int, states: Float[Tensor, "batch pos d"]) -> AbstractContextManager[None]:
    """Inside the `with`, forward passes take `states` as the output of block `layer` and run only the blocks above it.

    `states` are what `read` returns at `blocks.{layer}.hook_resid_post` for all tokens, padded as the pass is; the
    logits are then those of the whole model. Edits at `layer` and above act as usual. Raises IndexError for a layer
    that the model does not have.
    """
    return model.backend.run_from_layer(layer, states)


@contextmanager
def frozen(model: Core, weights: Mapping[str, Tensor] = _NONE) -> Iterator[None]:
    """Inside the `with`, gradients go through the model: no weight of its own asks for one, and attention is fast.

    `weights` take the place of those of their names, and may ask for gradients; see `Backend.with_weights`.
    """
    attention = Float32Attention() if model.dtype.itemsize < 4 else nullcontext()  # every call of torch goes through it
    with model.backend.with_weights(weights), attention:
        yield


@dataclass(frozen=True, eq=False)
class SharedPrefixCache:
    """Tokens that rows begin with, run once: keys and values in every block, [beginning, head, pos, d_head].

    Beginnings that are shorter than others are padded on the left.
    """

    length: int = 0
    cache: Cache | None = None
    owner: Int[Tensor, "row"] | None = None
    """Which beginning each row of the tokens has; None where all have the same."""
    lengths: Int[Tensor, "row"] | None = None
    """The length of each row's own beginning; None where all have the same."""

    @classmethod
    def of(cls, model: Core, tokens: Tokens, at_most: int) -> "SharedPrefixCache":
        """Run what the rows share, up to `at_most` tokens; nothing if they share none or the model keeps other states.

        It ends in front of the first token that an edit in force looks at, as edits may differ from row to row; and
        none may act there later.
        """
        everyone = list(range(len(tokens)))
        ids = common_beginning(tokens, min(at_most, first_edited(model.edits, Layout.of(tokens, everyone))))
        return cls.of_each(model, tokens, dict.fromkeys(everyone, len(ids)))

    @classmethod
    @torch.no_grad()
    def of_each(
        cls, model: Core, tokens: Tokens, lengths: Mapping[int, int], layer: int | None = None
    ) -> "SharedPrefixCache":
        """Run the beginnings of some rows, of the `lengths` given for each: equal ones once, and what all share once.

        No edit in force may look at them. They run up to block `layer`, if given, as what follows them must then too.
        Nothing runs if the model keeps other states than keys and values.
        """
        if not any(lengths.values()) or model.backend.facts().cache != "keys":
            return cls()
        places: dict[tuple[int, ...], int] = {}
        rows, cut = torch.zeros(2, len(tokens), dtype=torch.long)
        for row, length in lengths.items():
            rows[row], cut[row] = places.setdefault(tokens.rows[row].ids[:length], len(places)), length
        beginnings, cache = Tokens(tuple(map(Row, places))), model.backend.empty_cache()
        n_shared = len(common_beginning(beginnings, min(beginnings.lengths) - 1))
        if (len(places) - 1) * n_shared < PASS_TOKENS:
            n_shared = 0
        layout = Layout.of(beginnings, list(range(len(places)))).to(model.device)
        width = layout.ids.shape[1]
        with model.edited((), instead=True):
            if n_shared:
                header = Layout.of(Tokens((Row(beginnings.rows[0].ids[:n_shared]),)), [0]).to(model.device)
                with run_to_layer(model, layer):
                    model.forward(header, cache=cache, n_logits=1)
                cache.select(torch.zeros_like(layout.rows))
            with run_to_layer(model, layer):
                model.forward(layout.after(n_shared), attended=torch.ones_like(layout.mask), cache=cache, n_logits=1)
        if len(places) == 1:
            return cls(width, cache)
        cache.shift(width - layout.mask.sum(1))
        return cls(width, cache, rows.to(model.device), cut.to(model.device))

    def behind(self, layout: Layout) -> Layout:
        """The columns of whole rows behind their beginnings."""
        return layout.after(self.length if self.lengths is None else self.lengths[layout.rows])

    def options(self, layout: Layout, real: Bool[Tensor, "batch pos"] | None = None) -> dict[str, Any]:
        """What a forward pass over the columns behind the shared prefix needs to be as one over the whole rows.

        Only `real` tokens are attended to: those of the layout, unless others are given.
        """
        mask = layout.mask if real is None else real
        before, rows = mask.new_ones(len(mask), self.length), None
        if self.owner is not None and self.lengths is not None:
            rows, lengths = self.owner[layout.rows], self.lengths[layout.rows, None]
            before = torch.arange(self.length, device=mask.device) >= self.length - lengths
        cache = None if self.cache is None else self.cache.shared(rows)
        return {"attended": torch.cat([before, mask], 1), "cache": cache}


def shared_beginnings(
    model: Core, tokens: Tokens, at_most: Sequence[int], header: int, budget: int
) -> Iterator[dict[int, int]]:
    """Rows that run together, each with the length of its beginning, which runs once for all that share it.

    It has as many tokens as `at_most` says of the row, or fewer where an edit in force looks at one of them, and as
    many beginnings run together as `budget` tokens hold. Where that does not save these passes, it is the `header`:
    the number of tokens that all rows begin with and that run once in any case.
    """
    owners: dict[tuple[int, ...], list[int]] = {}
    if model.backend.facts().cache == "keys":
        unedited = first_edited(model.edits, Layout.of(tokens, list(range(len(tokens)))))
        for number, (row, most) in enumerate(zip(tokens, at_most, strict=True)):
            owners.setdefault(row.ids[: max(0, min(most, unedited))], []).append(number)
    saved = sum((len(rows) - 1) * (len(ids) - header) for ids, rows in owners.items())
    longer = [ids for ids in owners if len(ids) > header]
    batches = list(Tokens(tuple(map(Row, longer))).batches(budget, behind=header))
    left = set(range(len(tokens)))
    if saved >= PASS_TOKENS * len(batches):
        for batch in batches:
            together = {row: len(longer[at]) for at in batch for row in owners[longer[at]]}
            left -= together.keys()
            yield together
    if left:
        yield dict.fromkeys(sorted(left), header)


def common_beginning(tokens: Tokens, at_most: int) -> tuple[int, ...]:
    """The first tokens of all rows, as far as they are the same."""
    columns = zip(*(row.ids for row in tokens), strict=False)
    shared = takewhile(lambda column: len(set(column)) == 1, islice(columns, at_most))
    return tuple(column[0] for column in shared)


def first_edited(edits: Sequence[Edit], layout: Layout) -> int:
    """The first column that an edit looks at, or the number of columns; rows are padded on the right."""
    looked = [edit.looks_at(layout).any(0).nonzero() for edit in edits]
    return min([layout.ids.shape[1], *(int(columns[0]) for columns in looked if len(columns))])


class Float32Attention(TorchFunctionMode):
    """Inside the `with`, attention in half precision is computed in float32 on a CPU.

    There its backward pass takes more than twice as long in bfloat16.
    """

    @no_type_check  # every call of torch comes by
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (
            func is not nn.functional.scaled_dot_product_attention
            or args[0].device.type != "cpu"
            or args[0].dtype.itemsize >= 4
        ):
            return func(*args, **kwargs)
        wide = [value.float() for value in args[:3]]
        mask = kwargs.get("attn_mask")
        if mask is not None and mask.is_floating_point():
            kwargs = kwargs | {"attn_mask": mask.float()}
        return func(*wide, *args[3:], **kwargs).to(args[0].dtype)
