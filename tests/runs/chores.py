"""Small units of work for test_executors.py, and what workers make of them; every worker can import this."""

import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from workbench.runs.executors import Context, UnitWork
from workbench.runs.units import Inputs, Units


@dataclass(frozen=True)
class Kitchen(Context):
    """A context that notes which process made it; it is its own recipe."""

    folder: Path
    model: str = "tiny"
    elsewhere: str = "tiny"
    """The fingerprint of the workers' contexts."""

    @property
    def units(self) -> Units:
        return Units(self.folder / "units")

    @property
    def fingerprint(self) -> str:
        return self.model

    def recipe(self) -> "Recipe":
        return Recipe(self)

    def note(self, name: str) -> None:
        """Leave a mark, one file for each call."""
        (self.folder / f"{name}.{os.getpid()}.{uuid.uuid4().hex[:8]}").touch()

    def noted(self, name: str) -> list[int]:
        """The process ids that left this mark."""
        return [int(path.name.split(".")[1]) for path in self.folder.glob(f"{name}.*")]


@dataclass(frozen=True)
class Recipe:
    kitchen: Kitchen

    def __call__(self) -> Kitchen:
        self.kitchen.note("opened")
        if self.kitchen.elsewhere == "broken":
            raise OSError("there is no such model")
        if self.kitchen.elsewhere == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return Kitchen(self.kitchen.folder, self.kitchen.elsewhere)


@dataclass(frozen=True)
class Square(UnitWork[Kitchen]):
    """The square of a number."""

    number: int

    @property
    def name(self) -> str:
        return f"square/{self.number}"

    def inputs(self, context: Kitchen) -> Inputs:
        return {"model": context.model, "number": self.number}

    def compute(self, context: Kitchen) -> dict[str, float]:
        context.note(f"did{self.number}")
        return {"square": self.number**2, "third": self.number / 3}


@dataclass(frozen=True)
class Waiting(Square):
    """The same, once the file `go` is there."""

    def compute(self, context: Kitchen) -> dict[str, float]:
        context.note("began")
        while not (context.folder / "go").exists():
            time.sleep(0.01)
        return super().compute(context)


@dataclass(frozen=True)
class Deadly(Square):
    """The same, but the first `lives` workers that try are killed."""

    lives: int = 1

    def compute(self, context: Kitchen) -> dict[str, float]:
        context.note(f"tried{self.number}")
        if len(context.noted(f"tried{self.number}")) <= self.lives:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().compute(context)


@dataclass(frozen=True)
class Failing(Square):
    """No square at all."""

    def compute(self, context: Kitchen) -> dict[str, float]:
        raise ValueError(f"{self.number} is out of flour")


def alive(process: int) -> bool:
    """Whether a process runs; a zombie, which only waits to be reaped, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False
