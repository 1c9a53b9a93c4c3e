"""Vectors to and from the files of other projects: llama.cpp and repeng, IBM's activation-steering, plain arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.artifacts.artifact import Origin
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.exchange.block_outputs import EMBEDDINGS, Directions, Steering, block_outputs, layer_vectors
from workbench.exchange.control_vectors import read_control_vector, write_control_vector
from workbench.exchange.npz import read_npz, write_npz
from workbench.exchange.svec import read_svec, write_svec
from workbench.models.model import Model
from workbench.runs.errors import StorageError
from workbench.runs.files import file_digest
from workbench.text import no_such

Format = Literal["gguf", "svec", "svec_read", "npz"]
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".joblib")
"""How files end that only unpickling opens, which can run any code."""


@dataclass(frozen=True)
class VectorFormat:
    """A way to write directions for blocks."""

    write: Callable[[Directions, Path, str], None]
    """Directions to a file that names the model's type, if it names one."""
    read: Callable[[Path, int], Directions]
    """The directions of a file; those of a model have the given width."""
    blocks: Callable[[int], range]
    """The blocks whose outputs it can name, of a model of so many."""
    why: str
    """Why it can name no others."""


FORMATS: dict[Format, VectorFormat] = {
    "gguf": VectorFormat(
        write_control_vector,
        read_control_vector,
        lambda n_layers: range(1, n_layers),
        "llama.cpp refuses direction.0 and counts no further than the last block",
    ),
    "svec": VectorFormat(
        lambda directions, path, model_type: write_svec(directions, path, model_type, shift=1),
        lambda path, width: read_svec(path, shift=1),
        lambda n_layers: range(EMBEDDINGS, n_layers - 1),
        "activation-steering adds to the inputs of blocks, and nothing comes after the last one",
    ),
    "svec_read": VectorFormat(
        lambda directions, path, model_type: write_svec(directions, path, model_type, shift=0),
        lambda path, width: read_svec(path, shift=0),
        range,
        "activation-steering reads at the outputs of blocks",
    ),
    "npz": VectorFormat(
        lambda directions, path, model_type: write_npz(directions, path),
        read_npz,
        range,
        "its arrays are called after blocks, from 0",
    ),
}
"""By name. A file's ending is the name of its format, except that `svec_read` is another sense of the same files."""


def write_vector(
    steering: Steering,
    model: Model,
    path: Path | str,
    *,
    format: Format | None = None,
    strength: float = 1.0,
    drop_bias: bool = False,
) -> Path:
    """Write what `strength` adds as a file of another project's, and return its path.

    The numbers are in activation units: what the other project calls strength or coefficient 1 adds them. `format` is
    by default the path's ending.

    Raises ArtifactError, before anything is written, for an unknown format and what the format cannot say: see
    `block_outputs`, and blocks that it has no name for. Raises StorageError where nothing can be written.
    """
    path = Path(path)
    chosen = FORMATS[_named(path, format)]
    directions = block_outputs(steering, model, strength=strength, drop_bias=drop_bias)
    blocks = chosen.blocks(model.n_layers)
    for block in directions:
        if block not in blocks:
            place = "the embeddings" if block == EMBEDDINGS else f"the output of block {block}"
            raise ArtifactError(f"{path.name} cannot hold a direction for {place}: {chosen.why}")
    chosen.write(directions, path, model.backend.facts().family)
    return path


def read_vector(path: Path | str, model: Model, concept: str, *, format: Format | None = None) -> LayerVectors:
    """Another project's file as vectors for `model`; `concept` says what they bring.

    Strength 1 adds what the file says, where the project that the file is from would add it.

    Raises ArtifactError naming the path for a file that cannot be read, holds something else, or does not fit the
    model. Nothing is ever unpickled.
    """
    path = Path(path)
    name = _named(path, format)
    directions = FORMATS[name].read(path, model.d_model)
    try:
        data = file_digest(path)
    except StorageError as error:
        raise ArtifactError(str(error)) from error
    origin = Origin(name, "{}", concept, model.name, model.digest, data)
    return layer_vectors(directions, model, origin, str(path))


def _named(path: Path, format: str | None) -> Format:
    if path.suffix in PICKLES:
        raise ArtifactError(
            f"{path} would have to be unpickled, which can run any code; in the program that made it, save the "
            "directions with numpy.savez('vector.npz', **{str(layer): direction for layer, direction in ...})"
        )
    for name in FORMATS:
        if name == (format or path.suffix.removeprefix(".")):
            return name
    raise ArtifactError(f"{path}: {no_such('format', format or path.suffix.removeprefix('.'), FORMATS)}")
