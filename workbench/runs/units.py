"""Units of work that are done once: each is stored whole, with its checksum, under a key."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.runs.errors import RunError, StorageError
from workbench.runs.files import digest, file_digest, plain, read_json, replacing, slug, write_json

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Units:
    """The store of finished units in `folder`: `<slug of key>/unit.json`, and beside it the file of a file unit.

    It holds no lock and no state, so any number of workers may fill one store; a unit that two of them finish at once
    is written whole by one after the other. A unit that is damaged (truncated, edited, of another key) is reported in
    the log and done again.
    """

    folder: Path

    def value(self, key: str, compute: Callable[[], object]) -> Any:
        """The stored value of `key`, or that of `compute()`, stored first.

        Always what was read back from disk, so that fresh and resumed runs see the same (tuples are lists, say).
        Raises StorageError when the value cannot be JSON or cannot be written.
        """
        index = self._index(key)
        if not self._intact(index, key, _value_seal):
            value = plain(compute(), f"the value of unit {key!r}")
            write_json(index, {"key": key, "value": value, "sha256": digest([key, value])})
        return read_json(index)["value"]

    def file(self, key: str, write: Callable[[Path], object], suffix: str) -> Path:
        """The path of the file of `key`, made by `write(path)` unless it is there and whole.

        `suffix` is the file's ending with its dot. Raises StorageError when it cannot be written, RunError when `write`
        wrote nothing.
        """
        index, data = self._index(key), self._index(key).with_name(f"data{suffix}")
        if not self._intact(index, key, lambda key, _: digest([key, file_digest(data)])):
            with replacing(data) as scratch:
                write(scratch)
                if not scratch.exists():
                    raise RunError(f"unit {key!r}: its writer did not write to the path it was given, {scratch}")
            write_json(index, {"key": key, "file": data.name, "sha256": digest([key, file_digest(data)])})
        return data

    def __contains__(self, key: str) -> bool:
        return self._index(key).exists()

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*/unit.json"))

    def _index(self, key: str) -> Path:
        return self.folder / slug(key) / "unit.json"

    def _intact(self, index: Path, key: str, seal: Callable[[str, dict[str, Any]], str]) -> bool:
        if not index.exists():
            return False
        try:
            stored = read_json(index)
            if stored["sha256"] == seal(key, stored):
                return True
            reason = "its checksum differs"
        except (StorageError, KeyError, TypeError) as error:
            reason = repr(error)
        _LOG.warning("unit %r in %s is damaged and is done again: %s", key, index.parent, reason)
        return False


def _value_seal(key: str, stored: dict[str, Any]) -> str:
    return digest([key, stored["value"]])
