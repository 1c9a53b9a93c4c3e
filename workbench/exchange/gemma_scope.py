"""Gemma Scope's files (arXiv:2408.05147): JumpReLU weights as `layer_20/width_16k/average_l0_71/params.npz`."""

import io
import re
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import UNREADABLE, ArtifactError
from workbench.exchange.sae_weights import SaeWeights
from workbench.models.sites import Site
from workbench.runs.files import write_bytes

PARAMS = "params.npz"
_LAYER = re.compile(r"layer_(\d+)")
_ELSEWHERE = re.compile(r"-(?:att|mlp|transcoders)(?=/|$)|/embedding(?=/|$)")
"""Folders of dictionaries that do not read the residual stream."""


def read_gemma_scope(path: Path | str, site: Site | None = None, target: Site | None = None) -> SparseAutoencoder:
    """A params.npz. Its site is the residual stream behind the layer that its folders name, if none is given.

    Raises ArtifactError, naming the path, if it cannot be read, needs unpickling, or scales what it reads; and without
    a `site` for one whose folders say that it reads elsewhere. A transcoder needs its `target`, too.
    """
    path = Path(path)
    try:
        # numpy leaves a file open that it cannot read, if it is given a path
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {re.sub("^w_", "W_", name): torch.from_numpy(file[name]) for name in file.files}
    except (*UNREADABLE, BadZipFile, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read as a file of Gemma Scope: {error}") from error
    scale = arrays.pop("scaling_factor", None)
    if scale is not None and not bool((scale == 1).all()):
        raise ArtifactError(f"{path} scales what it reads, which cannot be read")
    folder = path.parent.as_posix()
    layers, elsewhere = _LAYER.findall(folder), _ELSEWHERE.search(folder)
    if elsewhere and (site is None or ("transcoders" in elsewhere[0] and target is None)):
        raise ArtifactError(f"{path} does not read the residual stream; give its `site`, and a transcoder's `target`")
    if site is None and not layers:
        raise ArtifactError(f"{path} lies in no folder layer_N; give its `site`")
    where = site or Site(int(layers[-1]))
    return SaeWeights(path, arrays, where, centred=False, target=target).make("gemma_scope", {}, "unknown", path)


def write_gemma_scope(dictionary: SparseAutoencoder, path: Path | str) -> Path:
    """Write a params.npz. Raises ArtifactError for TopK and transcoders, which this format does not have."""
    if dictionary.k or dictionary.target:
        raise ArtifactError(f"the dictionary at {dictionary.site} is no JumpReLU autoencoder, as Gemma Scope's are")
    buffer, w = io.BytesIO(), {name: array.float().numpy() for name, array in dictionary.tensors().items()}
    np.savez(buffer, W_enc=w["W_enc"], b_enc=w["b_enc"], W_dec=w["W_dec"], b_dec=w["b_dec"], threshold=w["threshold"])
    write_bytes(Path(path), buffer.getvalue())
    return Path(path)
