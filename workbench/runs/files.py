"""Files that are whole or absent: atomic writes, canonical JSON, checksums, safe names, a lock between processes."""

import errno
import hashlib
import json
import math
import os
import re
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from filelock import FileLock, Timeout

from workbench.runs.errors import DamagedFile, StorageError

JSON = dict[str, Any] | list[Any] | str | int | float | bool | None
"""What a JSON file can hold. NaN and infinity are not JSON: a missing number is None."""

_SIMPLE = frozenset({str, int, bool, type(None)})
"""Types that are JSON as they are: most of what is written, which `plain` need not be asked about one by one."""
_SCRATCH = ".scratch-"
_POLL_S = 0.05


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; when the block succeeds, sync it to disk and rename it onto `path`.

    A reader sees the old file or the new one, never a part of either, also after a power cut. Folders are created. When
    the block raises, `path` is as it was. Raises StorageError for every OSError: full disk, read-only folder, ...
    """
    scratch = path.with_name(f"{_SCRATCH}{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
            _sync(scratch)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error}; free space or choose a writable folder") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` atomically. Raises StorageError."""
    with replacing(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically as UTF-8, with line ends as given. Raises StorageError."""
    write_bytes(path, text.encode())


def copy_file(source: Path, target: Path) -> None:
    """Copy atomically; a target that holds the same bytes stays as it is. Raises StorageError."""
    try:
        data = source.read_bytes()
        same = target.exists() and target.read_bytes() == data
    except OSError as error:
        raise StorageError(f"could not copy {source} to {target}: {error}") from error
    if not same:
        write_bytes(target, data)


def write_json(path: Path, value: object) -> None:
    """Write `value` atomically as indented JSON, keys sorted: equal values give equal bytes. Raises StorageError."""
    write_text(path, json.dumps(plain(value), sort_keys=True, allow_nan=False, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises StorageError when it is absent, unreadable, truncated, not UTF-8, or holds a NaN."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"could not read {path} as JSON: {error}") from error


def write_sealed(path: Path, value: object) -> None:
    """Write `{"sha256": digest(value), "value": value}` as write_json does, for read_sealed. Raises StorageError."""
    value = plain(value)
    write_json(path, {"sha256": digest(value), "value": value})


def read_sealed(path: Path, remedy: str) -> Any:
    """The value that write_sealed wrote, every bit of it.

    Raises StorageError when the file cannot be read, DamagedFile with the `remedy` when it is something else than what
    was written: damaged, edited, or of an earlier version, which wrote no checksum.
    """
    damaged = DamagedFile(f"{path} is damaged, edited or of an earlier version (its checksum does not fit): {remedy}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"could not read {path}: {error}") from error
    try:
        stored = json.loads(data, parse_constant=_refuse_constant)
        if stored["sha256"] == digest(stored["value"]):
            return stored["value"]
    except (ValueError, RecursionError, LookupError, TypeError, StorageError) as error:
        raise damaged from error
    raise damaged


def remove_scratch(folder: Path) -> int:
    """Remove the scratch files that killed writers left under `folder`; return how many. Raises StorageError."""
    try:
        left = list(folder.rglob(f"{_SCRATCH}*"))
        for path in left:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"could not clean {folder}: {error}") from error
    return len(left)


def plain(value: object, where: str = "value") -> Any:
    """Turn dataclasses, mappings, tuples, paths and NumPy scalars into what JSON holds.

    `where` names the value in messages. Raises StorageError, naming the place, for a non-finite number, a key that is
    no string, and any type that has no one JSON form (sets, bytes, arrays, tensors).
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _finite(value, where)
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, list | tuple):
        return [one if type(one) in _SIMPLE else plain(one, f"{where}[{i}]") for i, one in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in fields(value)}, where)
    if isinstance(value, Mapping):
        return {
            _key(key, where): one if type(one) in _SIMPLE else plain(one, f"{where}.{key}")
            for key, one in value.items()
        }
    raise StorageError(f"{where} is a {type(value).__name__}, which JSON cannot hold; convert it first")


def canonical(value: object) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, ASCII only, so that any string survives."""
    return json.dumps(plain(value), sort_keys=True, allow_nan=False, separators=(",", ":"))


def digest(value: object) -> str:
    """sha256 of the canonical JSON, in hex: the same in every process and on every machine."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex. Raises StorageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"could not read {path}: {error}") from error


def slug(name: str) -> str:
    """A file name for any text, different for different texts, also where the file system ignores case.

    Short lower-case names stay as they are (`diffmean`); every other name becomes its readable part and a digest
    (`Golden Gate Bridge` -> `golden-gate-bridge-43a6b8a7e4c8`), so no name can leave the folder or meet another's file.
    """
    if re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", name) and len(name) <= 64 and not _RESERVED.search(name):
        return name
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    readable = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:48].strip("-")
    code = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{readable or 'unnamed'}-{code}"


# What a plain name must not look like: the digest form above, and the device names of Windows.
_RESERVED = re.compile(r"-[0-9a-f]{12}$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


@contextmanager
def locked(path: Path, wait_s: float = 0.0, what: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` against every other process (and every other holder in this one).

    The system releases it when the process ends, however it ends. `wait_s` is how long to wait for another holder
    (`math.inf` for as long as it takes); `what` names the locked thing. Raises StorageError when the wait is over,
    naming the holder's process id.
    """
    name = what or str(path)
    lock = FileLock(path, thread_local=False, fallback_to_soft=False, poll_interval=_POLL_S, on_acquired=_sign)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except (Timeout, RuntimeError) as error:  # RuntimeError: waiting would be for this very thread
        raise StorageError(f"{name} is in use by {_holder(path)}") from error
    except (OSError, NotImplementedError) as error:
        raise StorageError(f"could not lock {path}: {error}; choose a writable folder that has locks") from error
    try:
        yield
    finally:
        lock.release()


def _sign(handle: int) -> None:
    """Write who holds the lock into its file."""
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, str(os.getpid()).encode())


def _holder(path: Path) -> str:
    try:
        pid = path.read_bytes()[:32].decode("ascii", "replace") or "unknown"
    except OSError:  # where a locked file cannot be read
        pid = "unknown"
    if pid == str(os.getpid()):
        return "this very process; close it first"
    return f"process {pid}; wait for it or stop it"


def _sync(path: Path, mode: int = os.O_RDWR) -> None:
    handle = os.open(path, mode)  # Windows syncs only what could be written to
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folder
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as error:
        # Some network and container file systems cannot sync a folder; the rename itself is still atomic there.
        if error.errno != errno.EINVAL:
            raise


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise StorageError(f"{where} is {value}, which JSON cannot hold; a missing number is None")
    return value


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise StorageError(f"{where} has the key {key!r}; JSON keys are strings")
    return key


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; a missing number is null")
