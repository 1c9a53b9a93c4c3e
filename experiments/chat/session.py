"""The chat: what is typed, the answers, and the commands that change how they are steered."""

import io
import queue
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from experiments.chat.columns import GrowingColumns
from experiments.chat.config import Config
from experiments.serve.engine import Engine
from experiments.serve.tasks import Ended, Event, Failed, Task, Written
from experiments.serve.vectors import LoadedVectors, check_vectors, load_vectors
from workbench.models.conversation import ASSISTANT, USER, Conversation, Turn
from workbench.models.model import Model
from workbench.models.positions import Positions
from workbench.models.sampling import Sampling
from workbench.runs.errors import StorageError
from workbench.runs.files import write_json
from workbench.text import no_such

HELP = """\
/strength X        add X units of each vector
/vector FILE ...   steer with these vectors instead; /vector alone steers no more
/positions TEXT    where they act: all, prompt[-1], response, between(7;8) of token ids, ...
/save FILE         write the conversation, with its settings, as JSON
/clear             begin anew
/help              these lines
/quit              end; so does the end of the input
All else is said to the model. Ctrl-C ends an answer that is being written."""


@dataclass(frozen=True)
class Exchange:
    """One question with its answers, and how the steered one was steered."""

    question: str
    unsteered: str
    steered: str | None
    vectors: tuple[str, ...]
    strength: float
    positions: str


@dataclass
class Session:
    """A conversation that goes on in two ways, each with its own past."""

    config: Config
    model: Model
    engine: Engine
    out: TextIO
    is_live: bool
    vectors: dict[str, LoadedVectors] = field(default_factory=dict)
    past: list[Exchange] = field(default_factory=list)

    def run(self, lines: Iterator[str]) -> None:
        """Answer lines until there are no more, or /quit. What cannot be done is said, and the chat goes on."""
        for line in lines:
            try:
                words = shlex.split(line) if line.startswith("/") else line.split()
                if words and words[0] == "/quit":
                    return
                if words and words[0].startswith("/"):
                    self._command(words[0], words[1:])
                elif words:
                    self._answer(line.strip())
            except (ValueError, OSError, StorageError) as error:
                self._say(f"error: {error}")

    def steer(self, vectors: Mapping[str, LoadedVectors]) -> None:
        """With these vectors, by their files. Raises ValueError for one that is none of this model."""
        for loaded in vectors.values():
            check_vectors(loaded, self.model)
        self.vectors = {**vectors}

    def _command(self, name: str, arguments: list[str]) -> None:
        commands: dict[str, Callable[[list[str]], None]] = {
            "/strength": self._strength,
            "/vector": lambda files: self.steer(read_vectors(files)),
            "/positions": self._positions,
            "/save": self._save,
            "/clear": lambda _: self.past.clear(),
            "/help": lambda _: self._say(HELP),
        }
        if name not in commands:
            raise ValueError(no_such("command", name, [*commands, "/quit"]))
        commands[name](arguments)
        if name in ("/strength", "/vector", "/positions"):
            self._say(self._steering())

    def _strength(self, arguments: list[str]) -> None:
        if len(arguments) != 1:
            raise ValueError("/strength takes one number")
        self.config = replace(self.config, strength=float(arguments[0]))

    def _positions(self, arguments: list[str]) -> None:
        positions = Positions.parse("".join(arguments))
        self.config = replace(self.config, positions=str(positions))

    def _save(self, arguments: list[str]) -> None:
        if len(arguments) != 1:
            raise ValueError("/save takes the name of a file")
        settings = {"model": self.model.name, "model_digest": self.model.digest, "config": vars(self.config)}
        write_json(Path(arguments[0]).expanduser(), {**settings, "exchanges": [vars(each) for each in self.past]})
        self._say(f"{len(self.past)} exchanges are in {arguments[0]}")

    def _steering(self) -> str:
        names = " + ".join(loaded[0].origin.label for loaded in self.vectors.values())
        if not names:
            return "unsteered"
        return f"{names} x {self.config.strength:g} at {self.config.positions}"

    def _answer(self, question: str) -> None:
        steered = bool(self.vectors)
        events: queue.Queue[Event] = queue.Queue()
        tasks = [self._task(question, is_steered) for is_steered in (False, True)[: 1 + steered]]
        ticket = self.engine.submit(tasks, events.put)
        columns = GrowingColumns(["unsteered", self._steering()][: len(tasks)], self.out, _width(), live=self.is_live)
        try:
            texts = self._texts(events, columns, len(tasks))
        finally:
            self.engine.cancel(ticket)
        config = self.config
        how = (tuple(self.vectors), config.strength, config.positions)
        self.past.append(Exchange(question, texts[0], texts[1] if steered else None, *how))

    def _task(self, question: str, is_steered: bool) -> Task:
        turns: list[Turn] = []
        for each in self.past:
            said = each.steered if is_steered and each.steered is not None else each.unsteered
            turns += [Turn(USER, each.question), Turn(ASSISTANT, said)]
        (prompt,) = self.model.encode([Conversation((*turns, Turn(USER, question)))])
        config = self.config
        sampling = Sampling(config.max_tokens, config.temperature, config.top_p, config.seed + len(self.past))
        added = [vector for loaded in self.vectors.values() for vector in loaded] if is_steered else []
        edits = tuple(vector.edit(config.strength, config.positions) for vector in added)
        return Task(prompt, sampling, edits, is_streamed=True)

    def _texts(self, events: "queue.Queue[Event]", columns: GrowingColumns, n: int) -> list[str]:
        """Show the answers as they come, until all have ended or Ctrl-C; their texts."""
        texts, left = [""] * n, n
        try:
            while left:
                event = events.get()
                if isinstance(event, Written):
                    texts[event.row] += event.text
                    columns.write(event.row, event.text)
                elif isinstance(event, Failed):
                    columns.write(event.row, f"[{event.reason}]")
                if isinstance(event, Ended | Failed):
                    left -= 1
                    columns.end(event.row)
        except KeyboardInterrupt:
            for row in range(n):
                columns.end(row)
        self._say("")
        return texts

    def _say(self, text: str) -> None:
        self.out.write(f"{text}\n")
        self.out.flush()


def read_vectors(files: Sequence[str]) -> dict[str, LoadedVectors]:
    """The vectors in these files. Raises ValueError (ArtifactError is one) for a file without one."""
    return {name: load_vectors(Path(name)) for name in files}


def chat(config: Config) -> None:
    """Load the vectors, then the model, and talk until the input ends."""
    config = replace(config, positions=str(Positions.parse(config.positions)))
    is_live = sys.stdin.isatty() and sys.stdout.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # what is no text in this encoding ends no chat
    vectors = read_vectors(config.vector)
    model = config.load_model()
    with Engine(model, rows=2) as engine:
        session = Session(config, model, engine, sys.stdout, is_live)
        session.steer(vectors)
        session.run(_lines(is_live))


def _lines(is_live: bool) -> Iterator[str]:
    """What is typed, or what stands in a pipe, which is shown again."""
    if is_live:
        print("/help tells the commands")
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        if not is_live:
            print(line)
        yield line


def _width() -> int:
    return shutil.get_terminal_size().columns
