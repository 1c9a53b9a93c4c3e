"""Generation with a KV cache, one random stream for each row, and edits that may differ from row to row."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.backend import Cache
from workbench.models.core import Core
from workbench.models.positions import Layout
from workbench.models.tokens import Tokens


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_new_tokens: int = 64
    """Stop a row after this many tokens."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Sample only from the likeliest tokens that together have this probability."""
    seed: int = 0
    """Row i draws from the stream of (seed, i), unless `row_seeds` names the streams."""
    row_seeds: tuple[int, ...] | None = None
    """A seed for each row, so that a row keeps its text when it moves to another batch."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"{self} needs max_new_tokens >= 1, temperature >= 0 and 0 < top_p <= 1")

    def draws(self, n_rows: int) -> Float[Tensor, "row step"]:
        """One uniform number for each row and step."""
        seeds = self.row_seeds or tuple(self.seed * 1_000_003 + row for row in range(n_rows))
        if len(seeds) != n_rows:
            raise ValueError(f"{len(seeds)} row_seeds for {n_rows} rows")
        streams = (torch.Generator().manual_seed(seed) for seed in seeds)
        return torch.stack([torch.rand(self.max_new_tokens, generator=stream) for stream in streams])


GREEDY = Sampling()
"""64 tokens, the likeliest one each time."""


@dataclass(frozen=True)
class Generation:
    """A continuation: its text without special tokens, its ids, and whether it ended by itself."""

    text: str
    ids: tuple[int, ...]
    ended: bool


def generate(model: Core, prompts: Tokens, sampling: Sampling, batch_size: int) -> list[Generation]:
    """See `Model.generate`; edits are those in force on the model."""
    draws = sampling.draws(len(prompts)) if len(prompts) else torch.empty(0)
    order = sorted(range(len(prompts)), key=lambda row: (prompts.lengths[row], row))
    found: dict[int, Generation] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        cached = model.backend.facts().cache != "none"
        layout = Layout.of(prompts, rows, "left" if cached else "right", growing=True).to(model.device)
        decoding = (_Decoding if cached else _Rereading)(model, layout)
        for step in range(sampling.max_new_tokens):
            if not decoding.step(choose(decoding.logits, sampling, draws[decoding.layout.rows.cpu(), step])):
                break
        found.update(decoding.texts())
    return [found[row] for row in range(len(prompts))]


def choose(logits: Float[Tensor, "row vocab"], sampling: Sampling, draw: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    """The next token of each row, by inverting the cumulative distribution at the row's own uniform number."""
    if sampling.temperature == 0:
        return logits.float().argmax(-1)  # in bfloat16, argmax alone takes a twentieth of a step on a CPU
    probabilities = (logits.float() / sampling.temperature).softmax(-1)
    if sampling.top_p == 1:
        return _at(probabilities, draw)
    probabilities, ids = _nucleus(probabilities, sampling.top_p)
    return ids.gather(1, _at(probabilities, draw)[:, None])[:, 0]


def _at(probabilities: Float[Tensor, "row item"], draw: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    """The item of each row at which the cumulative share passes `draw`."""
    total = probabilities.cumsum(-1, dtype=torch.float64)
    place = torch.searchsorted(total, draw.to(total)[:, None] * total[:, -1:], right=True)
    return place[:, 0].clamp(max=probabilities.shape[-1] - 1)


def _nucleus(probabilities: Float[Tensor, "row vocab"], mass: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of each row that together hold `mass`, others at 0, and their ids, in ascending order.

    Tokens as likely as the last one are all kept: which of them comes first would depend on the other rows. Sorting
    the whole vocabulary at every step costs more than the model; 256 tokens nearly always suffice.
    """
    top, ids = probabilities.topk(min(256, probabilities.shape[-1]))
    cut = _cut(top, mass)
    if bool((cut > top[:, -1:]).all()):
        ids, at = ids.sort(-1)
        top = top.gather(-1, at)
        return top.masked_fill(top < cut, 0), ids
    cut = _cut(probabilities.sort(-1, descending=True).values, mass)
    ids = torch.arange(probabilities.shape[-1], device=probabilities.device).expand_as(probabilities)
    return probabilities.masked_fill(probabilities < cut, 0), ids


def _cut(descending: Float[Tensor, "row item"], mass: float) -> Float[Tensor, "row 1"]:
    """The smallest of the first probabilities of each row that together hold `mass`; the last one if none do."""
    needed = (descending.cumsum(-1) - descending < mass).sum(-1, keepdim=True)
    return descending.gather(-1, needed - 1)


@dataclass
class _Decoding:
    """The state of one batch: rows that have ended leave it."""

    model: Core
    layout: Layout
    written: dict[int, list[int]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.written = {row: [] for row in self.layout.rows.tolist()}
        self.stops = self.model.backend.facts().end_ids | {self.model.tokenizer.eos_token_id}
        self.attended = self.layout.mask
        self._forward(None)

    def step(self, chosen: Int[Tensor, "row"]) -> bool:
        """Write a token in every row and run the next forward; False when no row is left to continue."""
        going = []
        for at, (row, token) in enumerate(zip(self.layout.rows.tolist(), chosen.tolist(), strict=True)):
            if token in self.stops:
                self.ended.add(row)
            else:
                self.written[row].append(token)
                going.append(at)
        if len(going) < len(chosen):
            self._keep(torch.tensor(going, dtype=torch.long, device=chosen.device))
            chosen = chosen[going]
        self.pending = chosen
        return bool(going)

    @property
    def logits(self) -> Float[Tensor, "row vocab"]:
        """The logits of the next token; runs the forward over the token written last, if it has not run yet."""
        if self.pending is not None:
            index = self.layout.index[:, -1:] + 1
            self.layout = Layout(
                self.pending[:, None], index, self.layout.prefix, self.layout.response, None, self.layout.rows
            )
            self.attended = torch.cat([self.attended, index >= 0], 1)
            self._forward(self.cache)
        return self._logits

    def _forward(self, cache: Cache | None) -> None:
        output = self.model.forward(self.layout, attended=self.attended, cache=cache, keep_cache=True, n_logits=1)
        self.cache, self._logits, self.pending = output.cache, output.logits[:, -1], None

    def _keep(self, at: Int[Tensor, "kept"]) -> None:
        """Drop the rows that have ended from the cache and the layout."""
        if len(at) and self.cache is not None:
            self.cache.select(at)
        self.attended = self.attended[at]
        old = self.layout
        self.layout = Layout(old.ids[at], old.index[at], old.prefix[at], old.response[at], None, old.rows[at])

    def texts(self) -> dict[int, Generation]:
        """What each row has written."""
        decode = self.model.tokenizer.decode
        return {
            row: Generation(decode(ids, skip_special_tokens=True), tuple(ids), row in self.ended)
            for row, ids in self.written.items()
        }


@dataclass
class _Rereading(_Decoding):
    """The same for a network without a cache: every step reads whole rows, padded on the right."""

    @property
    def logits(self) -> Float[Tensor, "row vocab"]:
        """The logits of the next token; runs the forward over the whole rows, if it has not run yet."""
        if self.pending is not None:
            self.layout = _grown(self.layout, self.pending)
            self.attended = self.layout.mask
            self._forward(None)
        return self._logits

    def _forward(self, cache: Cache | None) -> None:
        output = self.model.forward(self.layout)
        last = self.layout.index.argmax(1)
        self.cache, self.pending = None, None
        self._logits = output.logits[torch.arange(len(last), device=last.device), last]


def _grown(old: Layout, chosen: Int[Tensor, "row"]) -> Layout:
    """The layout with a token more behind each row, whose padding is on the right."""
    end = old.index.amax(1, keepdim=True) + 1
    blank = old.ids.new_zeros(len(old.ids), 1)
    ids = torch.cat([old.ids, blank], 1).scatter(1, end, chosen[:, None])
    index = torch.cat([old.index, blank - 1], 1).scatter(1, end, end)
    return Layout(ids, index, old.prefix, old.response, None, old.rows)
