"""Read an offline W&B run back: what its `.wandb` file and its `files/` folder hold.

A `.wandb` file is a LevelDB log (https://github.com/google/leveldb/blob/main/doc/log_format.md) of protobuf Records
behind a header of 7 bytes: blocks of 32 KiB, in them chunks of (crc32, length, type) and data, zeros where no header
fits.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class Logged:
    """One offline run."""

    folder: Path
    project: str
    id: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    axes: dict[str, str]
    """The metric over which another one is drawn."""
    artifacts: dict[str, Any]
    exit_code: int | None

    def media(self, name: str) -> Path:
        """The file of a table or an HTML page that was logged as `name`."""
        (path,) = (step[name]["path"] for step in self.history if name in step)
        return self.folder / "files" / path


def logged(run_folder: Path) -> list[Logged]:
    """All offline W&B runs in a run's folder, oldest first."""
    return [_read(path) for path in sorted(run_folder.glob("wandb/offline-run-*/*.wandb"))]


def _read(path: Path) -> Logged:
    records = [wandb_internal_pb2.Record.FromString(data) for data in _chunks(path.read_bytes())]  # pyright: ignore[reportAttributeAccessIssue]
    by_type: dict[str, list[Any]] = {}
    for record in records:
        kind = record.WhichOneof("record_type")
        by_type.setdefault(kind, []).append(getattr(record, kind))
    run = by_type["run"][0]
    return Logged(
        path.parent,
        run.project,
        run.run_id,
        {item.key: json.loads(item.value_json) for item in run.config.update},
        [_items(history) for history in by_type.get("history", [])],
        {metric.name: metric.step_metric for metric in by_type.get("metric", []) if metric.step_metric},
        {artifact.name: artifact for artifact in by_type.get("artifact", [])},
        by_type["exit"][0].exit_code if "exit" in by_type else None,
    )


def _items(history: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in history.item:
        *outer, name = item.nested_key or [item.key]
        inner = found
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[name] = json.loads(item.value_json)
    return found


def _chunks(log: bytes) -> Iterator[bytes]:
    assert log[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(log):
        room = BLOCK - at % BLOCK
        if room < HEADER:
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", log, at)
        parts += log[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
        else:
            assert kind in (FIRST, MIDDLE)
