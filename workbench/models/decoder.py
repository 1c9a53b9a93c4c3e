"""A decoder that rows join and leave while others run, each with its own sampling, stops and edits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.core import Core
from workbench.models.edits import Edit
from workbench.models.encoding import continued
from workbench.models.gates import forget
from workbench.models.running import RunningRows, start
from workbench.models.sampling import GREEDY, NO_TOKEN, Sampling, choose
from workbench.models.stacking import Edits, as_edits, per_row
from workbench.models.tokens import Tokens


@dataclass(frozen=True)
class Generation:
    """A continuation: its text without special tokens, its ids, and whether it ended by itself."""

    text: str
    ids: tuple[int, ...]
    ended: bool
    failure: str | None = None
    """Why it could not go on from there, if it could not: the model's logits were NaN or infinite."""
    end: int | None = None
    """The end token that it wrote, if it did: no part of `ids`."""


@dataclass(frozen=True, eq=False)
class _Row:
    """A row that is being written."""

    number: int
    sampling: Sampling
    draws: list[float]
    edits: tuple[Edit, ...]
    """Those of the rows that it joined with."""
    place: int
    """Which of these rows it is."""
    written: list[int] = field(default_factory=list)

    @property
    def own_edits(self) -> list[Edit]:
        return [edit.select([self.place]) for edit in self.edits]

    @property
    def choice(self) -> tuple[float, float]:
        """What rows share whose next tokens are chosen together."""
        return self.sampling.temperature, self.sampling.top_p


class Decoder:
    """Continues rows step by step: `add` rows at any time, `step` them together, `finish` one early.

    In exact arithmetic each row gets the text that it gets alone: it draws from its own stream, sees its own edits, and
    attends to its own tokens. A Decoder belongs to one thread; several may share a model.
    """

    def __init__(self, model: Core) -> None:
        self.model = model
        self._stops = model.backend.facts().end_ids | {model.tokenizer.eos_token_id}
        self._rows: list[_Row] = []
        self._edits: tuple[Edit, ...] = ()
        self._batch: RunningRows | None = None
        self._count = 0

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the rows that are being written."""
        return tuple(row.number for row in self._rows)

    def written(self, number: int) -> tuple[int, ...]:
        """The tokens that a running row has written so far. Raises KeyError for a row that is not running."""
        return tuple(self._rows[self._find(number)].written)

    @torch.no_grad()
    def add(
        self,
        prompts: Tokens,
        sampling: Sampling | Sequence[Sampling] = GREEDY,
        edits: Edits = (),
    ) -> list[int]:
        """Run the prompts, which join the rows that are running; the numbers by which they are known from now on.

        `sampling` is one for all, whose row i draws from the stream of its seed and i, or one for each, which draws
        from its own row 0. The edits are shared or carry one entry a prompt, as everywhere, and act behind those in
        force on the model now. Raises ValueError as `Model.generate` does, and where a network's states cannot be
        joined; the running rows are then as they were.
        """
        each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
        if len(each) != len(prompts):
            raise ValueError(f"{len(each)} samplings for {len(prompts)} prompts")
        if not each:
            return []
        draws = sampling.draws(len(prompts)) if isinstance(sampling, Sampling) else [one.draws(1)[0] for one in each]
        self.model.checked(prompts, max(one.max_new_tokens for one in each))
        mine = (*self.model.edits, *as_edits(edits))
        new = self._start(prompts, mine)
        rows = [
            _Row(self._count + place, one, stream.tolist(), mine, place)
            for place, (one, stream) in enumerate(zip(each, draws, strict=True))
        ]
        if self._batch is None:
            self._batch, self._edits = new, mine
        else:
            self._join(new, rows)
        self._rows, self._count = self._rows + rows, self._count + len(rows)
        return [row.number for row in rows]

    @torch.no_grad()
    def logits(self) -> Float[Tensor, "row vocab"]:
        """What the next `step` chooses from, a row for each one that is running, in their order.

        Raises RuntimeError where no row is running.
        """
        if self._batch is None:
            raise RuntimeError("no row is running, so nothing has logits; `add` prompts first")
        self._batch = self._advance(self._batch)
        assert self._batch.logits is not None
        return self._batch.logits

    @torch.no_grad()
    def step(self) -> dict[int, Generation]:
        """Write one token in every running row; what those rows have written that end with it, and leave."""
        if self._batch is None:
            return {}
        batch = self._advance(self._batch)
        chosen = self._choose(batch)
        done, going = {}, []
        for at, (row, token) in enumerate(zip(self._rows, chosen.tolist(), strict=True)):
            generation = self._write(row, token)
            if generation is None:
                going.append(at)
            else:
                done[row.number] = generation
        self._keep(batch.written(chosen), going)
        return done

    def finish(self, number: int) -> Generation:
        """What a running row has written so far; it leaves. Raises KeyError for a row that is not running."""
        at, batch = self._find(number), self._batch
        assert batch is not None
        generation = self._generation(self._rows[at], ended=False)
        self._keep(batch, [other for other in range(len(self._rows)) if other != at])
        return generation

    def _find(self, number: int) -> int:
        if number not in self.running:
            raise KeyError(f"row {number} is not running; these are: {list(self.running)}")
        return self.running.index(number)

    def _start(self, prompts: Tokens, edits: tuple[Edit, ...]) -> RunningRows:
        with self.model.edited(edits, instead=True):
            self.model.check_rows(len(prompts))
            return start(self.model, prompts)

    def _advance(self, batch: RunningRows) -> RunningRows:
        """Run the tokens that were written last, if they have not run yet."""
        with self.model.edited(self._edits, instead=True):
            return batch.advanced(self.model)

    def _join(self, new: RunningRows, rows: list[_Row]) -> None:
        """Give every row its own edits anew."""
        assert self._batch is not None
        self._batch = self._advance(self._batch).joined(new)
        self._edits = per_row([row.own_edits for row in (*self._rows, *rows)])
        forget(self._batch.layout, {gate for edit in self._edits for gate in edit.gates})

    def _choose(self, batch: RunningRows) -> Int[Tensor, "row"]:
        """The next token of each row; those of one temperature and top_p together."""
        logits = batch.logits
        assert logits is not None
        draws = torch.tensor([row.draws[len(row.written)] for row in self._rows], device=logits.device)
        chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
        for choice in dict.fromkeys(row.choice for row in self._rows):
            at = torch.tensor([row.choice == choice for row in self._rows], device=logits.device).nonzero()[:, 0]
            sampling = self._rows[int(at[0])].sampling
            mine = logits if len(at) == len(logits) else logits[at]
            chosen[at] = choose(mine, sampling, draws[at])
        return chosen

    def _write(self, row: _Row, token: int) -> Generation | None:
        """What the row has written, if this token ends it, or is none."""
        if token == NO_TOKEN:
            under = ", ".join(f"{type(edit).__name__} at {edit.site}" for edit in row.edits) or "no edit"
            failure = f"logits that are not finite after {len(row.written)} tokens, under {under}"
            return replace(self._generation(row, ended=False), failure=failure)
        if token in self._stops:
            return replace(self._generation(row, ended=True), end=token)
        row.written.append(token)
        if row.sampling.stop:
            generation = self._generation(row, ended=True)
            cut = min((at for text in row.sampling.stop if (at := generation.text.find(text)) >= 0), default=None)
            if cut is not None:
                return replace(generation, text=generation.text[:cut])
        return self._generation(row, ended=False) if len(row.written) == row.sampling.max_new_tokens else None

    def _generation(self, row: _Row, *, ended: bool) -> Generation:
        return Generation(continued(self.model.tokenizer, row.written), tuple(row.written), ended)

    def _keep(self, batch: RunningRows, going: list[int]) -> None:
        """Go on with some of the rows."""
        if not going:
            self._rows, self._batch, self._edits = [], None, ()
            return
        if len(going) < len(self._rows):
            batch = batch.select(torch.tensor(going, device=batch.layout.ids.device))
        self._rows, self._batch = [self._rows[at] for at in going], batch
