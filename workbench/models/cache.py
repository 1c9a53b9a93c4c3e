"""A cache folder that is either whole or absent, built once whatever is killed and however many processes ask.

An entry is a folder with a `manifest.json` that holds size, modification time and sha256 of every file in it. Entries
are built beside their final place under a file lock and renamed into it.
"""

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench.runs.errors import StorageError
from workbench.runs.fields import at_least, check_fields
from workbench.runs.files import locked, read_json, write_text
from workbench.text import OneLineError

MANIFEST = "manifest.json"
_HEAD_BYTES = 65_536


class WeightsError(OneLineError):
    """Weights could not be fetched, checked, converted or found; the message says which, why and what to do."""


def cache_root() -> Path:
    """The folder of all cached weights: `$WORKBENCH_CACHE`, else `~/.cache/representation-workbench`."""
    chosen = os.environ.get("WORKBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "representation-workbench"


def say(message: str) -> None:
    """Tell the user on standard error: standard output belongs to the caller's results."""
    print(message, file=sys.stderr, flush=True)


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a whole file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class FileRecord:
    """What a file looked like when its sha256 was taken."""

    size: int
    mtime_ns: int
    head: str
    """sha256 of the first 64 KiB."""
    sha256: str

    def __post_init__(self) -> None:
        check_fields(self, size=at_least(0), mtime_ns=at_least(-(2**63), high=2**63 - 1))

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        """Read the whole file once and record it."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, _head_of(path), sha256_of(path))

    def still_describes(self, path: Path) -> bool:
        """Whether size, modification time and first bytes are the recorded ones: one `stat` and 64 KiB."""
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns) and _head_of(path) == self.head


def cached_folder(key: str, build: Callable[[Path], None]) -> Path:
    """The folder `<cache root>/<key>`, built with `build(empty folder)` unless it is already there and undamaged.

    A damaged entry is reported on standard error and rebuilt. When `build` raises, or the process is killed, no entry
    appears; of several processes that ask at once, one builds and the others wait. Raises `WeightsError` when the cache
    cannot be written.
    """
    folder = cache_root() / key
    if damage_of(folder) is None:
        return folder
    with _locked(folder.with_name(f"{folder.name}.lock")):
        damage = damage_of(folder)
        if damage is None:
            return folder
        if folder.exists():
            say(f"Rebuilding {folder}: {damage}.")
        _build(folder, build)
    return folder


def damage_of(folder: Path) -> str | None:
    """The first difference between a cache entry and its manifest, or None when it is whole.

    Cheap (a `stat` and 64 KiB a file) unless a modification time differs: that file is then hashed in full.
    """
    try:
        records = records_of(folder)
    except (StorageError, ValueError, TypeError, AttributeError) as error:
        return f"{folder / MANIFEST} cannot be read ({error})"
    if not records:
        return f"{folder / MANIFEST} lists no file"
    found = (_damage(folder / name, record) for name, record in records.items())
    return next((damage for damage in found if damage), None)


def records_of(folder: Path) -> dict[str, FileRecord]:
    """The manifest of a cache entry: a record for every file, by its path inside the folder."""
    return {name: FileRecord(**record) for name, record in read_json(folder / MANIFEST).items()}


def remembered_sha256(path: Path) -> str:
    """The sha256 of a file outside the cache, taken anew only when its size, time or first bytes have changed."""
    note = cache_root() / "digests" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json"
    try:
        record = FileRecord(**read_json(note))
    except (StorageError, ValueError, TypeError):
        record = None
    if record is None or not record.still_describes(path):
        record = FileRecord.of(path)
        with suppress(StorageError):  # where the cache cannot be written the file is hashed each time
            write_text(note, json.dumps(asdict(record)))
    return record.sha256


def _damage(path: Path, record: FileRecord) -> str | None:
    try:
        return _difference(path, record)
    except OSError as error:
        return f"{path} cannot be read ({error})"


def _difference(path: Path, record: FileRecord) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    if record.still_describes(path):
        return None
    if (size := path.stat().st_size) != record.size:
        return f"{path} has {size} bytes, expected {record.size}"
    if (found := sha256_of(path)) != record.sha256:
        return f"{path} has sha256 {found}, expected {record.sha256}"
    with suppress(OSError):  # only the time differs: set it back, or hash at every load where that is not allowed
        os.utime(path, ns=(record.mtime_ns, record.mtime_ns))
    return None


def _head_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(_HEAD_BYTES)).hexdigest()


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    """Build beside `folder`, write the manifest, then rename; the caller holds the lock."""
    staging, damaged = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("building", "damaged"))
    for left_by_a_kill in (staging, damaged):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    staging.mkdir()
    try:
        build(staging)
        write_manifest(staging)
        if folder.exists():
            folder.rename(damaged)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(damaged, ignore_errors=True)


def write_manifest(folder: Path) -> None:
    """Record every file of a folder, which is then an entry."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        _sync(path)
    records = {path.relative_to(folder).as_posix(): asdict(FileRecord.of(path)) for path in files}
    (folder / MANIFEST).write_text(json.dumps(records, indent=1))
    _sync(folder / MANIFEST)


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:  # Windows syncs only what could be written to
        os.fsync(stream.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(path, wait_s=math.inf))
        except StorageError as error:
            raise WeightsError(
                f"The cache cannot be written ({error}). Set WORKBENCH_CACHE to a folder that can."
            ) from error
        yield
