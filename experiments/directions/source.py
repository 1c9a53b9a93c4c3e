"""Where the concepts of a dictionary come from, a block at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from workbench.data.axbench import AxBenchFolder
from workbench.data.choose import choose as choose_concepts
from workbench.data.concepts import Concept, ConceptSet


@runtime_checkable
class Source(Protocol):
    """Concepts whose training and validation examples can be had block by block."""

    @property
    def name(self) -> str:
        """What the list is called."""
        ...

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """All concepts, in order."""
        ...

    def read(self, numbers: Sequence[int]) -> ConceptSet:
        """The train and validation examples of these concepts, by number."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """A concept set that is there as a whole."""

    whole: ConceptSet

    @property
    def name(self) -> str:
        """The set's name."""
        return self.whole.name

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """The set's concepts."""
        return self.whole.concepts

    def read(self, numbers: Sequence[int]) -> ConceptSet:
        """Without the evaluation texts, which no fit may see and nobody needs to read."""
        chosen = self.whole.select(numbers)
        kept = [row for row, example in enumerate(chosen.examples) if example.split != "evaluation"]
        examples = tuple(chosen.examples[row] for row in kept)
        splits = tuple(split for split in chosen.splits if split != "evaluation")
        return replace(chosen, examples=examples, labels=chosen.labels[kept], splits=splits)


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
    def concepts(self) -> tuple[Concept, ...]:
        """The first concepts of the folder's metadata."""
        return self.folder.concepts[: self.limit]

    def read(self, numbers: Sequence[int]) -> ConceptSet:
        """The rows of these concepts and no others."""
        return self.folder.read(numbers)


def choose(name: str, limit: int | None) -> Source:
    """The source that a configuration names. Raises ConceptError for data that is not whole."""
    if Path(name).is_dir():
        return OnDisk(AxBenchFolder(Path(name)), limit)
    whole = choose_concepts(name)
    return InMemory(whole if limit is None else whole.subset(limit))
