"""One thread that continues the rows of all requests together. It knows nothing of HTTP."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Self

import torch

from experiments.serve.live import LiveRow
from experiments.serve.passes import read_answers, score_prompts, with_logprobs
from experiments.serve.tasks import Begun, Ended, Event, Failed, Listener, PromptScored, QueueFull, Task, Token, Written
from experiments.serve.text import TextStream
from workbench.models.decoder import Decoder, Generation
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.stacking import per_row
from workbench.models.tokens import Tokens

LOG = logging.getLogger(__name__)

PASS_TOKENS = 512
"""Padded tokens in one pass over prompts or answers: rows that are being written wait for it."""


@dataclass(frozen=True)
class Counts:
    """What the engine has done so far, and what it is doing."""

    steps: int = 0
    prompt_tokens: int = 0
    written_tokens: int = 0
    rows_ended: int = 0
    rows_failed: int = 0
    rows_cancelled: int = 0
    rows_running: int = 0
    rows_waiting: int = 0


class Engine:
    """Continues tasks in one thread, which lives inside the `with`; `submit` and `cancel` may be called from any.

    At most `rows` are written together, and `waiting` more are taken in. Rows join and leave between steps, whatever
    their edits; each is written as if it were alone.
    """

    def __init__(self, model: Model, *, rows: int = 32, waiting: int = 256) -> None:
        self.model, self.rows, self.waiting = model, rows, waiting
        self._decoder = Decoder(model)
        self._joins = model.backend.facts().cache != "states"
        self._change = threading.Condition()
        """Guards all that follows but `_running` and `_counts`, which are the thread's own."""
        self._prompts: deque[LiveRow] = deque()
        """Rows to be written."""
        self._passes: deque[LiveRow] = deque()
        """Rows whose prompt is to be scored, or whose answer is to be read."""
        self._cancelled: set[int] = set()
        self._tickets = 0
        self._closed = False
        self._running: dict[int, LiveRow] = {}
        """By their numbers in the decoder."""
        self._taken: list[LiveRow] = []
        """Out of a queue, and not yet anywhere else."""
        self._counts = Counts()
        self._alive = 0
        """Rows that have not ended; guarded too."""
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    @property
    def counts(self) -> Counts:
        """A snapshot."""
        running = len(self._running)
        return replace(self._counts, rows_running=running, rows_waiting=max(0, self._alive - running))

    def check(self, task: Task) -> None:
        """Raises ValueError for a text that does not fit, and for edits at positions that a growing text has not."""
        tokens = Tokens((task.prompt,))
        self.model.checked(tokens, task.sampling.max_new_tokens if task.sampling else 0)
        layout = Layout.of(tokens, [0], growing=True)
        for edit in task.edits:
            edit.looks_at(layout)

    def submit(self, tasks: Sequence[Task], listener: Listener) -> int:
        """Take rows in; the ticket that they are cancelled by. Events name a row by its place among the tasks.

        Raises QueueFull if there is no room for all of them, ValueError as `check`.
        """
        for task in tasks:
            self.check(task)
        with self._change:
            if self._closed:
                raise QueueFull("the server is stopping")
            waiting = len(self._prompts) + len(self._passes)
            if waiting + len(tasks) > self.waiting:
                raise QueueFull(f"{waiting} rows are waiting already, and at most {self.waiting} may; try again later")
            self._tickets += 1
            self._alive += len(tasks)
            for number, task in enumerate(tasks):
                stream = TextStream(self.model.tokenizer, task.sampling.stop if task.sampling else ())
                queue = self._passes if task.score_prompt or task.sampling is None else self._prompts
                queue.append(LiveRow(self._tickets, number, task, listener, stream))
            self._change.notify()
            return self._tickets

    def cancel(self, ticket: int) -> None:
        """End what is left of some tasks; nothing more is told of them but what is on its way."""
        with self._change:
            self._cancelled.add(ticket)
            self._change.notify()

    def _work(self) -> None:
        while self._await_work():
            try:
                self._drop_cancelled()
                self._begin()
                self._pass()
                self._step()
            except Exception:  # whatever it is, nobody may wait for ever
                LOG.exception("a step of the engine failed")
                self._decoder = Decoder(self.model)
                self._fail_all("the server could not go on; its log says why")
        self._fail_all("the server is stopping")

    def _await_work(self) -> bool:
        """Wait until there is something to do; False once the engine is closed."""
        with self._change:
            self._change.wait_for(
                lambda: self._running or self._prompts or self._passes or self._cancelled or self._closed
            )
            return not self._closed

    def _fail_all(self, reason: str) -> None:
        with self._change:
            rows = [*self._taken, *self._prompts, *self._passes, *self._running.values()]
            for queue in (self._taken, self._prompts, self._passes, self._running):
                queue.clear()
        for row in rows:
            self._fail(row, reason)

    def _fail(self, row: LiveRow, reason: str) -> None:
        self._leave(rows_failed=1)
        row.listener(Failed(row.number, reason))

    def _count(self, **more: int) -> None:
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()})

    def _leave(self, **rows: int) -> None:
        self._count(**rows)
        with self._change:
            self._alive -= sum(rows.values())

    def _drop_cancelled(self) -> None:
        with self._change:
            gone, self._cancelled = self._cancelled, set()
            if not gone:
                return
            waiting = len(self._prompts) + len(self._passes)
            self._prompts, self._passes = (
                deque(row for row in queue if row.ticket not in gone) for queue in (self._prompts, self._passes)
            )
            dropped = waiting - len(self._prompts) - len(self._passes)
        leaving = [number for number, row in self._running.items() if row.ticket in gone]
        for number in leaving:
            self._decoder.finish(number)
            del self._running[number]
        self._leave(rows_cancelled=dropped + len(leaving))

    def _begin(self) -> None:
        """Run the prompts of rows that wait, in the order in which they came, as far as there is room."""
        room = self.rows - len(self._running)
        if self._running and not self._joins:
            return
        rows = self._next(self._prompts, room)
        if not rows:
            return
        try:
            self._add(rows)
        except ValueError:  # one of them cannot begin; the running rows are as they were
            for row in rows:
                self._add_alone(row)
        self._taken = []

    def _add(self, rows: Sequence[LiveRow]) -> None:
        prompts = Tokens(tuple(row.task.prompt for row in rows))
        samplings = [row.task.sampling for row in rows if row.task.sampling is not None]
        numbers = self._decoder.add(prompts, samplings, per_row([row.task.edits for row in rows]))
        self._running |= dict(zip(numbers, rows, strict=True))
        self._count(prompt_tokens=sum(prompts.lengths))

    def _add_alone(self, row: LiveRow) -> None:
        try:
            self._add([row])
        except ValueError as error:
            self._fail(row, str(error))

    def _next(self, queue: deque[LiveRow], room: int) -> list[LiveRow]:
        """Rows from the front of a queue that are one pass: within its tokens, or a single one."""
        rows: list[LiveRow] = []
        with self._change:
            width = 0
            while queue and len(rows) < room:
                width = max(width, len(queue[0].text_row.ids))
                same_kind = not rows or (rows[0].ended is None) == (queue[0].ended is None)
                if not same_kind or (rows and width * (len(rows) + 1) > PASS_TOKENS):
                    break
                rows.append(queue.popleft())
        self._taken = rows
        return rows

    def _pass(self) -> None:
        """Score some prompts, or read some answers."""
        rows = self._next(self._passes, PASS_TOKENS)
        if rows and rows[0].ended is None:
            self._score(rows)
        elif rows:
            found = read_answers(self.model, [row.text_row for row in rows], [row.task.readers for row in rows])
            for row, readings in zip(rows, found, strict=True):
                assert row.ended is not None
                self._end(row, replace(row.ended, readings=readings))
        self._taken = []

    def _score(self, rows: list[LiveRow]) -> None:
        """Alone where one of them cannot be scored; a row of which nothing is asked but its echo ends at once."""
        asked = [row for row in rows if row.task.score_prompt]
        try:
            scored = self._scores(asked)
        except ValueError:
            scored = [self._scored_alone(row) for row in asked]
        left = []
        for row, tokens in zip(asked, scored, strict=True):
            if isinstance(tokens, str):
                self._fail(row, tokens)
                continue
            row.listener(PromptScored(row.number, tuple(_cut(token, row.task) for token in tokens)))
            left.append(row)
        for row in rows:
            if row.task.sampling is None and (row in left or row not in asked):
                self._end(row, Ended(row.number, readings=((),) * len(row.task.readers)))
        with self._change:
            self._prompts.extendleft(row for row in reversed(left) if row.task.sampling is not None)

    def _scored_alone(self, row: LiveRow) -> list[Token] | str:
        try:
            return self._scores([row])[0]
        except ValueError as error:
            return str(error)

    def _scores(self, rows: Sequence[LiveRow]) -> list[list[Token] | str]:
        """The tokens of each prompt with their log-probabilities, or why there are none."""
        if not rows:
            return []
        prompts = [row.task.prompt for row in rows]
        most = max(row.task.alternatives or 0 for row in rows)
        scored = score_prompts(self.model, prompts, [row.task.edits for row in rows], most)
        self._count(prompt_tokens=sum(len(prompt.ids) for prompt in prompts))
        broken = "the row has logits that are not finite in its prompt; take a smaller strength"
        return [
            broken if any(token.logprob is not None and not isfinite(token.logprob) for token in tokens) else [*tokens]
            for tokens in scored
        ]

    @torch.no_grad()
    def _step(self) -> None:
        """Write one token in every row, and tell what is new."""
        if not self._running:
            return
        numbers = self._decoder.running
        told = [at for at, number in enumerate(numbers) if self._running[number].task.alternatives is not None]
        logits = self._decoder.logits()[told] if told else None
        done = self._decoder.step()
        new = {number: self._newest(number, done.get(number)) for number in numbers}
        if logits is not None:
            most = max(self._running[numbers[at]].task.alternatives or 0 for at in told)
            named = [(place, numbers[at]) for place, at in enumerate(told) if new[numbers[at]] is not None]
            ids = [token for _, number in named if (token := new[number]) is not None]
            tokens = with_logprobs(logits[[place for place, _ in named]], [each.id for each in ids], most)
            new |= dict(zip((number for _, number in named), tokens, strict=True))
        self._count(steps=1, written_tokens=sum(token is not None for token in new.values()))
        for number, token in new.items():
            row, generation = self._running[number], done.get(number)
            if token is not None:
                token = _cut(token, row.task)
                if not row.tokens:
                    row.listener(Begun(row.number))
                if generation is None or generation.end is None:
                    row.tokens.append(token)
            if generation is not None:
                del self._running[number]
                self._finish(row, generation, token)
            elif row.task.is_streamed:
                self._tell(row, *row.stream.grow([token.id for token in row.tokens]))

    def _newest(self, number: int, done: Generation | None) -> Token | None:
        """The token that a row has written in this step, be it the one that ends it; None where it could not."""
        if done is not None and done.end is not None:
            return Token(done.end)
        ids = self._decoder.written(number) if done is None else done.ids
        return Token(ids[-1]) if len(ids) > len(self._running[number].tokens) else None

    def _tell(self, row: LiveRow, text: str, n_tokens: int) -> None:
        if text or n_tokens:
            piece = tuple(row.tokens[row.told : row.told + n_tokens])
            row.told += n_tokens
            row.listener(Written(row.number, text, piece))

    def _finish(self, row: LiveRow, generation: Generation, last: Token | None) -> None:
        if generation.failure:
            self._fail(row, f"the row has {generation.failure}; take a smaller strength")
            return
        text, n_tokens = row.stream.end(generation.ids, generation.text)
        kept = tuple(row.tokens[: row.told + n_tokens])
        if row.task.is_streamed:
            self._tell(row, text, n_tokens)
        end = last if generation.end is not None and row.task.tells_end else None
        n_written = len(row.tokens) + (end is not None)
        ended = Ended(row.number, generation.text, kept, n_written, generation.ended, end)
        if row.task.readers:
            row.ended = ended
            with self._change:
                self._passes.append(row)
        else:
            self._end(row, ended)

    def _end(self, row: LiveRow, event: Event) -> None:
        self._leave(rows_ended=1)
        row.listener(event)


def _cut(token: Token, task: Task) -> Token:
    """Without more alternatives than its task asks for."""
    return replace(token, top=token.top[: task.alternatives])
