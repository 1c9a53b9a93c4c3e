"""Dictionaries from wherever they are: our own file, a folder or file of another project, the hub."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import ArtifactError
from workbench.exchange import dictionary_learning, gemma_scope, saelens, sparsify
from workbench.exchange.sae_weights import of_model
from workbench.models.load import DEFAULT
from workbench.models.model import Model
from workbench.models.sites import Site

SHIPPED = {DEFAULT: "smollm2-135m-instruct-blocks.18.hook_resid_post.safetensors"}
"""Dictionaries that come with the workbench, by their model's name; in `probes/sae/shipped`, with their records."""
WEIGHTS = (gemma_scope.PARAMS, saelens.WEIGHTS, sparsify.WEIGHTS, dictionary_learning.WEIGHTS)
"""What a folder with a dictionary has one of."""
_FILES = {*WEIGHTS, saelens.CONFIG, sparsify.CONFIG, dictionary_learning.CONFIG}
_HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:/(.+))?")
_SHOWN = 5
"""Folders of a repository that an error names."""


def load_dictionary(
    path: Path | str, model: Model | None = None, *, site: Site | str | None = None, target: Site | str | None = None
) -> SparseAutoencoder:
    """A dictionary by its file, its folder, `owner/repository/folder` on the Hugging Face hub, or a name in `SHIPPED`.

    Knows this workbench's `.safetensors`, and what SAELens, Gemma Scope, sparsify and dictionary_learning write.
    Of a repository only the files of one dictionary are downloaded. `model` says that it is a dictionary of this model,
    which alone takes its edits; else see `adopt`. `site` and `target` stand where a file does not say where it reads
    and writes.

    Raises ArtifactError for what is none of these or damaged, for a `target` where the format says it or has no
    transcoders, for a model of another width, and for a repository or folder on the hub without a dictionary of its
    own, naming the folders in it that have one.
    """
    if str(path) in SHIPPED:
        found = _shipped(str(path))
    else:
        found = _read(_local(path), Site.parse(site) if site else None, Site.parse(target) if target else None)
    if model is None:
        return found
    if found.d_in != model.d_model and found.site.stream.startswith("resid"):
        raise ArtifactError(f"{path} reads states of {found.d_in} numbers, and those of {model.name} have "
                            f"{model.d_model}")  # fmt: skip
    return of_model(found, model.name, model.digest)


@cache
def _shipped(name: str) -> SparseAutoencoder:
    """Read once: the package's own files stay as they are."""
    return SparseAutoencoder.load(Path(str(files("probes.sae") / "shipped" / SHIPPED[name])))


def _read(path: Path, site: Site | None, target: Site | None) -> SparseAutoencoder:
    if path.suffix == ".npz":
        return gemma_scope.read_gemma_scope(path, site, target)
    if (path / gemma_scope.PARAMS).exists():
        return gemma_scope.read_gemma_scope(path / gemma_scope.PARAMS, site, target)
    if (path / sparsify.WEIGHTS).exists() and not (path / saelens.WEIGHTS).exists():
        return sparsify.read_sparsify(path, site, target)
    if target is not None:
        raise ArtifactError(f"{path} says itself what it predicts, or is no transcoder; leave `target` out")
    if path.suffix == ".safetensors":
        return SparseAutoencoder.load(path)
    if (path / saelens.WEIGHTS).exists():
        return saelens.read_saelens(path, site)
    if (path / dictionary_learning.WEIGHTS).exists():
        return dictionary_learning.read_dictionary_learning(path, site)
    raise ArtifactError(f"{path} holds no dictionary; expected a .safetensors or .npz file, or a folder with one of "
                        f"{', '.join(WEIGHTS)}")  # fmt: skip


def _local(path: Path | str) -> Path:
    """Where it lies on this machine, downloaded if it is a name on the hub."""
    place = Path(path)
    name = _HUB.fullmatch(str(path))
    if place.exists() or place.suffix in (".safetensors", ".npz") or name is None:
        return place
    from huggingface_hub import list_repo_files, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, folder = name[1], PurePosixPath(name[2] or "")
    try:
        root = Path(snapshot_download(repository, allow_patterns=[str(folder / file) for file in sorted(_FILES)]))
        if any((root / folder / file).exists() for file in WEIGHTS):
            return root / folder
        there = [PurePosixPath(file) for file in list_repo_files(repository)]
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ArtifactError(f"{path} is no file or folder here, and could not be had from the hub: {error}") from error
    inside = sorted({f"{repository}/{one.parent}" for one in there if one.name in WEIGHTS and folder in one.parents})
    names = f", such as {', '.join(inside[:_SHOWN])}; name one of them" if inside else ""
    raise ArtifactError(f"{path} is no folder with a dictionary, and {len(inside)} folders in it are{names}")
