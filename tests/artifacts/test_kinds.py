"""Every kind of artifact is registered; its files are read, or refused, by a process that has imported none of them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.artifacts.examples import examples
from tests.planted import planted
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.file import Contents
from workbench.artifacts.kinds import ARTIFACTS
from workbench.models.model import Model

ROOT = Path(__file__).parents[2]
FLOORS = ("workbench", "probes", "steering", "experiments")

LOAD = """
import json, sys
from pathlib import Path
from workbench.artifacts.artifact import Artifact
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        loaded = Artifact.load(path)
        found[path.name] = [type(loaded).__name__, loaded.digest]
    except Exception as error:
        found[path.name] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""
"""Without pytest, nothing but the workbench itself checks types and shapes."""


def subclasses(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_class_of_artifacts_is_registered() -> None:
    for path in (path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")):
        if "workbench.artifacts" in path.read_text() and path.stem not in ("__main__", "__init__"):
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    written = {
        kind for kind in subclasses(Artifact) if kind.__module__.split(".")[0] in FLOORS and not isabstract(kind)
    }
    registered = {name: entry.resolve() for name, entry in ARTIFACTS.items()}
    assert written == set(registered.values())
    assert [kind.kind for kind in registered.values()] == list(registered) == list(examples())


@dataclass(frozen=True)
class Loaded:
    """Files that a fresh process has loaded: a word that each must be refused with, and what came of it."""

    folder: Path
    words: dict[str, str]
    found: dict[str, tuple[str, str]]
    """Class and digest of the artifact, or class and message of the error."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder, words = tmp_path_factory.mktemp("files"), {}
    for kind, artifact in examples().items():
        artifact.save(folder / kind)
        header = {"kind": kind, "origin": asdict(artifact.origin), **artifact.header()}
        spoilt = [*bad_headers(header, artifact.tensors()), *bad_tensors(header, artifact.tensors())]
        for number, (contents, word) in enumerate(spoilt):
            (folder / f"{kind}-{number}").write_bytes(contents.to_bytes())
            words[f"{kind}-{number}"] = word
    command = [sys.executable, "-c", LOAD, str(folder)]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    return Loaded(folder, words, {name: (first, second) for name, (first, second) in found.items()})


def test_what_a_notebook_or_a_traceback_shows_is_one_short_line(llama: Model) -> None:
    shown = [*examples().values(), llama, planted()]
    for one in shown:
        assert re.fullmatch(r"\w+\(.{5,110}\)", repr(one)), repr(one)[:200]
    assert repr(planted()).startswith("Labelled('planted', ")


def test_each_kind_is_loaded_in_a_fresh_process(loaded: Loaded) -> None:
    for kind, artifact in examples().items():
        assert loaded.found[kind] == (type(artifact).__name__, artifact.digest)


def test_whatever_is_wrong_in_a_file_is_refused_by_its_path(loaded: Loaded) -> None:
    for name, word in loaded.words.items():
        error, message = loaded.found[name]
        assert error == "ArtifactError", (name, word, error, message)
        assert message.startswith(f"{loaded.folder / name} cannot be read as Artifact: "), message
        assert word in message, (name, word, message)
    assert len(loaded.words) > 150


def bad_headers(header: dict[str, Any], tensors: dict[str, Tensor]) -> Iterator[tuple[Contents, str]]:
    """The header without each of its entries, and with another type in its place; each with a word of the message."""
    for path in entries(header):
        *way, name = path
        for bad in ("absent", *wrong(at(header, path))):
            if (bad, path) == ("absent", ("origin", "seed")) or (bad, path) == ("absent", ("origin", "code")):
                continue  # these two have defaults
            changed = deepcopy(header)
            if bad == "absent":
                del at(changed, way)[name]
            else:
                at(changed, way)[name] = bad
            yield Contents(tensors, changed), f"{name!r}"
    yield Contents(tensors, header | {"kind": "other"}), "unknown kind 'other' (known are vector, "
    if "site" in header:
        yield Contents(tensors, header | {"site": "nowhere"}), "'nowhere' names no site"
    if "positions" in header:
        yield Contents(tensors, header | {"positions": "nowhere"}), "nowhere"


def entries(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every named entry."""
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if isinstance(name, str):
            yield (*way, name)
        yield from entries(inner, (*way, name))


def at(value: Any, way: Any) -> Any:
    for name in way:
        value = value[name]
    return value


def wrong(value: Any) -> list[Any]:
    """Values of other types than an entry's."""
    if isinstance(value, list):
        return [None, "text", {}, [*value, None]]
    if isinstance(value, dict):
        return [None, "text", []]
    return [True, [], {}, 5 if isinstance(value, str) else "5"]


def bad_tensors(header: dict[str, Any], tensors: dict[str, Tensor]) -> Iterator[tuple[Contents, str]]:
    """Each tensor missing, renamed, of another dtype, with an axis more, with values that are not finite."""
    yield Contents(tensors | {"stranger": torch.ones(1)}, header), "has no tensor stranger"
    for name, tensor in tensors.items():
        word = name.split(".")[-1]
        rest = {other: value for other, value in tensors.items() if other != name}
        bad = [tensor.long(), torch.full_like(tensor, torch.nan), torch.full_like(tensor, torch.inf)]
        if not name.startswith("changes."):  # changes of weights may have any name and shape
            yield Contents(rest, header), word
            yield Contents({**rest, f"{name}x": tensor}, header), word
            bad += [tensor[None], tensor.sum()]
        for value in bad:
            yield Contents({**rest, name: value}, header), word


@pytest.mark.parametrize(
    ("kind", "name", "axis", "message"),
    [
        ("attention", "query", 0, "direction is torch.float32"),
        ("linear_readout", "weight", 1, "bias is torch.float32"),
        ("head", "inner_weight", 0, "inner_bias is torch.float32"),
        ("head", "outer_weight", 0, "outer_weight is torch.float32"),
        ("dictionary", "units", 0, "units is torch.float64"),
        ("eraser", "mean", 0, "left is torch.float64"),
        ("lexicon", "weights", 0, "2 words of 'sea' have 1 weights"),
        ("sparse_autoencoder", "b_enc", 0, "b_enc is torch.float32"),
        ("adapter", "parts.1.down", 0, "up is torch.float32"),
    ],
)
def test_axes_that_do_not_go_together_are_refused(
    kind: str, name: str, axis: int, message: str, tmp_path: Path
) -> None:
    artifact = examples()[kind]
    whole = artifact.tensors()[name]
    tensors = artifact.tensors() | {name: whole.narrow(axis, 0, whole.shape[axis] - 1)}
    header = {"kind": kind, "origin": asdict(artifact.origin), **artifact.header()}
    (tmp_path / "short.safetensors").write_bytes(Contents(tensors, header).to_bytes())
    with pytest.raises(ValueError, match=rf"short\.safetensors .*{message}"):
        Artifact.load(tmp_path / "short.safetensors")
