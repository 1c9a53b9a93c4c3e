"""Rows that are being written, as the network knows them: what it keeps of them, and the logits of what comes next."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.backend import Cache
from workbench.models.core import Core
from workbench.models.positions import Layout
from workbench.models.prompts import run_prompts
from workbench.models.tokens import Tokens


@dataclass(frozen=True, eq=False)
class RunningRows:
    """Rows whose tokens the network keeps in a cache. They end at one column: padding is on the left.

    Nothing but `select` changes what is given to it, the cache excepted, which follows the newest value.
    """

    layout: Layout
    cache: Cache | None
    logits: Float[Tensor, "row vocab"] | None
    """Of the next token; None until the last one has run."""
    pending: Int[Tensor, "row"] | None = None
    """The tokens that were written last, if they have not run yet."""

    @classmethod
    def start(cls, model: Core, prompts: Tokens) -> "RunningRows":
        """Run prompts under the edits in force."""
        if model.backend.facts().cache == "keys":
            layout, cache, logits = run_prompts(model, prompts)
            return cls(layout, cache, logits)
        layout = Layout.of(prompts, list(range(len(prompts))), "left", growing=True).to(model.device)
        output = model.forward(layout, attended=layout.mask, keep_cache=True, n_logits=1)
        return cls(layout, output.cache, output.logits[:, -1])

    def written(self, tokens: Int[Tensor, "row"]) -> "RunningRows":
        """With a token more in each row."""
        return replace(self, pending=tokens, logits=None)

    def advanced(self, model: Core) -> "RunningRows":
        """With the tokens that were written last run, under the edits in force, so that there are logits."""
        if self.pending is None:
            return self
        index = self.layout.index[:, -1:] + 1
        layout = replace(self.layout, ids=self.pending[:, None], index=index, before=self.layout.seen)
        output = model.forward(layout, attended=layout.seen >= 0, cache=self.cache, keep_cache=True, n_logits=1)
        return RunningRows(layout, output.cache, output.logits[:, -1])

    def select(self, at: Int[Tensor, "kept"]) -> "RunningRows":
        """Some of the rows."""
        if self.cache is not None:
            self.cache.select(at)
        logits, pending = (None if value is None else value[at] for value in (self.logits, self.pending))
        return replace(self, layout=self.layout.select(at), logits=logits, pending=pending)

    def joined(self, other: "RunningRows") -> "RunningRows":
        """These rows and others behind them; both have run. Raises ValueError where their states cannot be aligned."""
        assert self.cache is not None
        assert other.cache is not None
        layout = _one_layout(*_aligned(self.layout, other.layout))
        self.cache.join(other.cache, layout.seen.shape[1])
        return RunningRows(layout, self.cache, _logits(self, other))


class RereadRows(RunningRows):
    """The same in a network that keeps nothing of what it has run: each step reads whole rows, padded on the right."""

    @classmethod
    def start(cls, model: Core, prompts: Tokens) -> "RereadRows":
        """Run prompts under the edits in force."""
        return cls._of(model, Layout.of(prompts, list(range(len(prompts))), growing=True).to(model.device))

    def advanced(self, model: Core) -> "RereadRows":
        """See RunningRows."""
        if self.pending is None:
            return self
        end = self.layout.index.amax(1, keepdim=True) + 1
        blank = self.layout.ids.new_zeros(len(end), 1)
        ids = torch.cat([self.layout.ids, blank], 1).scatter(1, end, self.pending[:, None])
        index = torch.cat([self.layout.index, blank - 1], 1).scatter(1, end, end)
        return self._of(model, replace(self.layout, ids=ids, index=index))

    def joined(self, other: RunningRows) -> "RereadRows":
        """See RunningRows."""
        width = max(self.layout.ids.shape[1], other.layout.ids.shape[1])
        layout = _one_layout(*(_widened(one.layout, width) for one in (self, other)))
        return RereadRows(layout, None, _logits(self, other))

    @classmethod
    def _of(cls, model: Core, layout: Layout) -> "RereadRows":
        last = layout.index.argmax(1)
        logits = model.forward(layout).logits[torch.arange(len(last), device=last.device), last]
        return cls(layout, None, logits)


def start(model: Core, prompts: Tokens) -> RunningRows:
    """Run prompts under the edits in force, in the way that the network can be continued."""
    kind = RereadRows if model.backend.facts().cache == "none" else RunningRows
    return kind.start(model, prompts)


def _logits(*rows: RunningRows) -> Float[Tensor, "row vocab"]:
    return torch.cat([one.logits for one in rows if one.logits is not None])


def _aligned(*layouts: Layout) -> list[Layout]:
    """The last columns, behind equally many others: these begin where the longest row does."""
    seen = [layout.seen for layout in layouts]
    width = max(int(ids.shape[1] - (ids >= 0).any(0).int().argmax()) for ids in seen)
    before = [torch.nn.functional.pad(ids, (width - ids.shape[1], 0), value=-1)[:, :-1] for ids in seen]
    return [
        replace(layout, ids=layout.ids[:, -1:], index=layout.index[:, -1:], before=ids)
        for layout, ids in zip(layouts, before, strict=True)
    ]


def _widened(layout: Layout, width: int) -> Layout:
    more = (0, width - layout.ids.shape[1])
    pad = torch.nn.functional.pad
    return replace(layout, ids=pad(layout.ids, more), index=pad(layout.index, more, value=-1))


def _one_layout(old: Layout, new: Layout) -> Layout:
    """Rows of both, numbered anew."""
    names = [name for name in ("ids", "index", "prefix", "response", "before") if getattr(old, name) is not None]
    rows = torch.arange(len(old.rows) + len(new.rows), device=old.rows.device)
    arrays = {name: torch.cat([getattr(one, name) for one in (old, new)]) for name in names}
    return Layout(**arrays, length=None, rows=rows, memory=old.memory + new.memory)
