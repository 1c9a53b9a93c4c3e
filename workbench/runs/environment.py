"""Where a run took place, and which code ran: what a reader needs to explain a difference between two of them."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_DISTRIBUTION = "representation-workbench"
_PACKAGES = (
    _DISTRIBUTION,
    "torch",
    "transformers",
    "transformer-lens",
    "safetensors",
    "gguf",
    "jax",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "scikit-learn",
    "wandb",
    "ray",
)


def environment() -> dict[str, Any]:
    """Python, package versions, platform, processor, threads, git state of the working directory, and the time (UTC).

    A package that is not installed, and the git state outside a repository, are None. No host or user name is taken.
    """
    return {
        "started": now(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "git": _git_state(Path.cwd()),
    }


@cache
def code_version() -> str:
    """Version of the workbench and the commit it runs from: `0.1.0+g2f9796d`, with `.dirty` if its code was changed.

    The version alone if git is not installed or the package lies in no checkout of its own, and `source` for a version
    if the package is not installed. Found once a process: the code that was imported is the code that runs.
    """
    return _code_version(Path(__file__).parents[2])


def _code_version(root: Path) -> str:
    version = _version(_DISTRIBUTION) or "source"
    state = _git_state(root, "workbench", "probes", "steering", "experiments") if (root / ".git").exists() else None
    if state is None:
        return version
    return f"{version}+g{state['commit'][:7]}{'.dirty' if state['dirty'] else ''}"


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment_changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What may change results between two environments, as sentences: Python, packages, git state, and noted facts."""
    skipped = {"started", "ended", "outcome", "platform", "omp_num_threads", "cores"}
    found = []
    for name in sorted((before.keys() & after.keys()) - skipped):
        if before[name] != after[name]:
            found.append(f"{name} was {_changed(before[name], after[name])}")
    return found


def _changed(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        return ", ".join(f"{k} {before.get(k)} -> {after[k]}" for k in sorted(after) if before.get(k) != after[k])
    return f"{before} -> {after}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    # platform.processor() is empty on most Linux systems.
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_state(folder: Path, *paths: str) -> dict[str, Any] | None:
    """The commit of a folder's checkout, and whether anything (or anything below the `paths`) differs from it."""
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--", *paths)
    return None if commit is None or changes is None else {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


__version__ = _version(_DISTRIBUTION) or "source"
"""Of the workbench; `source` if it is not installed."""
