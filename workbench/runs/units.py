"""Units of work that are done once: each is stored whole, with the inputs that it was computed from."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.runs.errors import RunError, StorageError
from workbench.runs.files import JSON, digest, file_digest, plain, read_json, replacing, slug, write_json

_LOG = logging.getLogger(__name__)

Inputs = Mapping[str, JSON]
"""All that a unit depends on, by name: small values, and digests of large ones.

By convention `version` is a number that the unit's author raises when its meaning changes.
"""


Complete = Callable[[Any], bool]
"""Whether nothing of a unit's value failed; one of which something did is stored, and not finished."""


def always(value: Any) -> bool:
    """Of units that are done or raise."""
    return True


@dataclass(frozen=True)
class StoredFile:
    """The file of a unit, and the note that its writer left beside it."""

    path: Path
    note: Any


@dataclass(frozen=True)
class Units:
    """The store of finished units in `folder`, one slot a name: `<slug of name>/unit.json`, and beside it its file.

    A stored unit counts if it is whole and its inputs are the given ones. One that does not is done again, and the log
    says why: it is damaged (truncated, edited, of another name), of the earlier format, which held no inputs, or some
    of its inputs changed. The store holds no lock and no state, so any number of workers may fill it; a unit that two
    of them finish at once is written whole by one after the other.
    """

    folder: Path
    log: logging.Logger = field(default=_LOG, compare=False, repr=False)

    def value(self, name: str, inputs: Inputs, compute: Callable[[], object], complete: Complete = always) -> Any:
        """The stored value of a unit, or that of `compute()`, stored first; one that is not complete is computed again.

        Always what was read back from disk, so that fresh and resumed runs see the same (tuples are lists, say).
        Raises StorageError when inputs or value cannot be JSON, or the unit cannot be written.
        """
        stored = self._finished(name, inputs, complete)
        if stored is None:
            self._write(name, inputs, compute())
            stored = read_json(self._index(name))
        return stored["value"]

    def file(self, name: str, inputs: Inputs, write: Callable[[Path], object], suffix: str) -> Path:
        """The path of a unit's file, made by `write(path)` unless it is there, whole and of these inputs.

        `suffix` is the file's ending with its dot. Raises StorageError when it cannot be written, RunError when `write`
        wrote nothing.
        """

        def write_one(paths: Mapping[str, Path]) -> dict[str, JSON]:
            write(paths[name])
            return {name: None}

        return self.files({name: inputs}, write_one, suffix)[name].path

    def files(
        self,
        inputs: Mapping[str, Inputs],
        write: Callable[[Mapping[str, Path]], Mapping[str, JSON]],
        suffix: str,
        complete: Complete = always,
    ) -> dict[str, StoredFile]:
        """The files of several units that share work, by name; those that do not count are made by one `write(paths)`.

        `write` gets a path for each name that is missing, and returns a note for each; a file whose note is not
        `complete` is written again. Raises as `file` does.
        """
        file = f"data{suffix}"
        missing = [
            name for name, its in inputs.items() if (self._finished(name, its, complete) or {}).get("file") != file
        ]
        if missing:
            with ExitStack() as finished:
                paths = {name: self._index(name).with_name(file) for name in missing}
                scratch = {name: finished.enter_context(replacing(path)) for name, path in paths.items()}
                notes = write(scratch)
                for name, path in scratch.items():
                    if not path.exists():
                        raise RunError(f"unit {name!r}: its writer did not write to the path it was given, {path}")
            for name in missing:
                self._write(name, inputs[name], notes[name], file)
        return {name: StoredFile(self._index(name).with_name(file), self._note(name)) for name in inputs}

    def fresh(self, name: str, inputs: Inputs, complete: Complete = always) -> bool:
        """Whether the unit is stored, whole, of these inputs and complete; if it is stored only, the log says why."""
        return self._finished(name, inputs, complete) is not None

    def attempted(self, name: str, inputs: Inputs) -> Any:
        """The stored value of a unit of these inputs, be it complete or not; None where there is none."""
        stored = self._find(name, inputs)
        return None if stored is None else stored["value"]

    def earlier(self) -> int:
        """How many units are of the earlier format, which held no inputs; none of them counts."""
        return sum(_is_earlier(_read(index)) for index in self.folder.glob("*/unit.json"))

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*/unit.json"))

    def _index(self, name: str) -> Path:
        return self.folder / slug(name) / "unit.json"

    def _note(self, name: str) -> Any:
        return read_json(self._index(name))["value"]

    def _write(self, name: str, inputs: Inputs, value: object, file: str | None = None) -> None:
        record = {
            "name": name,
            "inputs": plain(inputs, f"the inputs of unit {name!r}"),
            "value": plain(value, f"the value of unit {name!r}"),
            "file": file,
        }
        index = self._index(name)
        write_json(index, record | {"sha256": _checksum(record, index.parent)})

    def _finished(self, name: str, inputs: Inputs, complete: Complete) -> dict[str, Any] | None:
        """The record of a unit that counts."""
        stored = self._find(name, inputs)
        if stored is None or complete(stored["value"]):
            return stored
        self.log.info("unit %r goes on: a part of it failed", name)
        return None

    def _find(self, name: str, inputs: Inputs) -> dict[str, Any] | None:
        """The record of a unit that is whole and of these inputs."""
        index, given = self._index(name), plain(inputs, f"the inputs of unit {name!r}")
        if not index.exists():
            return None
        stored = _read(index)
        if _is_whole(stored, name, index.parent):
            changed = _changed(stored["inputs"], given)
            if not changed:
                return stored
            self.log.info("unit %r is done again: its %s changed", name, ", ".join(changed))
        elif _is_earlier(stored):
            self.log.info("unit %r is done again: it is of an earlier format, which held no inputs", name)
        else:
            self.log.warning("unit %r in %s is damaged and is done again", name, index.parent)
        return None


def _read(index: Path) -> Any:
    """What a unit's file holds; None where it cannot be read."""
    try:
        return read_json(index)
    except StorageError:
        return None


def _is_earlier(stored: Any) -> bool:
    return isinstance(stored, dict) and "key" in stored and "inputs" not in stored


def _is_whole(stored: Any, name: str, folder: Path) -> bool:
    """Whether a record is of this name, and it and its file are as they were written."""
    try:
        return stored["name"] == name and stored["sha256"] == _checksum(stored, folder)
    except (StorageError, KeyError, TypeError):
        return False


def _checksum(record: Mapping[str, Any], folder: Path) -> str:
    """sha256 of all that a record says, and of its file."""
    file = record["file"]
    said = [record["name"], record["inputs"], record["value"], file]
    return digest([*said, None if file is None else file_digest(folder / file)])


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of the inputs that are not the same, or on one side only."""
    there = before.keys() & now.keys()
    return sorted((before.keys() ^ now.keys()) | {name for name in there if before[name] != now[name]})
