"""Where the concepts of a dictionary come from, a block at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from workbench.data.axbench import AxBenchFolder
from workbench.data.dataset import Dataset
from workbench.data.items import Target
from workbench.data.named import axbench_folder, dataset


@runtime_checkable
class Source(Protocol):
    """Concepts whose training and validation examples can be had block by block."""

    @property
    def name(self) -> str:
        """What the list is called."""
        ...

    @property
    def targets(self) -> tuple[Target, ...]:
        """All concepts, in order."""
        ...

    def read(self, numbers: Sequence[int]) -> Dataset:
        """The train and validation examples of these concepts, by number."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """A concept set that is there as a whole."""

    whole: Dataset

    @property
    def name(self) -> str:
        """The set's name."""
        return self.whole.name

    @property
    def targets(self) -> tuple[Target, ...]:
        """The set's targets."""
        return self.whole.targets

    def read(self, numbers: Sequence[int]) -> Dataset:
        """Without the evaluation texts, which no fit may see and nobody needs to read."""
        return self.whole.select(numbers).part("train", "validation")


@dataclass(frozen=True, eq=False)
class OnDisk:
    """A folder of AxBench's, of which `limit` concepts are used."""

    folder: AxBenchFolder
    limit: int | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.folder.resolve().name

    @property
    def targets(self) -> tuple[Target, ...]:
        """The first concepts of the folder's metadata."""
        return self.folder.targets[: self.limit]

    def read(self, numbers: Sequence[int]) -> Dataset:
        """The rows of these concepts and no others."""
        return self.folder.read(numbers)


def choose_source(name: str, limit: int | None) -> Source:
    """The source that a configuration names. Raises DataError for data that is not whole."""
    if folder := axbench_folder(name):
        return OnDisk(AxBenchFolder(folder), limit)
    return InMemory(dataset(name, limit))
