"""Where a run took place: what a reader needs to explain a difference between two of them."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "representation-workbench",
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
        "git": _git_state(),
    }


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
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
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_state() -> dict[str, Any] | None:
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return None if commit is None or changes is None else {"commit": commit, "dirty": bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
