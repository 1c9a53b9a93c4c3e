"""Folders of EleutherAI's sparsify: cfg.json and sae.safetensors, TopK autoencoders and transcoders."""

import re
from pathlib import Path

from safetensors.torch import load_file, save

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import UNREADABLE, ArtifactError
from workbench.exchange.sae_weights import SaeWeights, bias_before_centering, config_entry, refuse, refuse_thresholds
from workbench.models.sites import Site
from workbench.runs.errors import StorageError
from workbench.runs.files import read_json, write_bytes, write_json

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
_NAMES = {"encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec", "encoder.weight": "W_enc"}
_PLAIN: dict[str, tuple[object, ...]] = {"activation": ("topk",), "skip_connection": (False,), "signed": (False,)}
_HOOKPOINT = re.compile(r"layers[._](\d+)(\.mlp)?$")


def read_sparsify(folder: Path | str, site: Site | None = None, target: Site | None = None) -> SparseAutoencoder:
    """A folder of sparsify, named after its hookpoint: `layers.5`, or `layers.5.mlp`.

    A transcoder reads what goes into the MLP, and needs both sites given. Raises ArtifactError, naming the folder, if
    it cannot be read, has another activation or a skip connection.
    """
    folder = Path(folder)
    try:
        config, tensors = read_json(folder / CONFIG), load_file(folder / WEIGHTS)
    except (*UNREADABLE, StorageError) as error:
        raise ArtifactError(f"{folder} cannot be read as a folder of sparsify: {error}") from error
    k = config_entry(config, "k", int, folder)
    refuse(folder, config, _PLAIN)
    if unknown := tensors.keys() - _NAMES.keys():
        raise ArtifactError(f"{folder} holds {min(unknown)}, which no autoencoder of sparsify has")
    arrays = {_NAMES[name]: tensor.mT if name == "encoder.weight" else tensor for name, tensor in tensors.items()}
    transcoder = config.get("transcode", False) is True
    found = _HOOKPOINT.search(folder.name)
    if site is None and (found is None or transcoder):
        raise ArtifactError(f"{folder} does not say where it reads; give its `site`" + " and `target`" * transcoder)
    if transcoder and target is None:
        raise ArtifactError(f"{folder} is a transcoder; give its `target`")
    where = site or Site(int(found[1]) if found else 0, "mlp_out" if found and found[2] else "resid_post")
    weights = SaeWeights(folder, arrays, where, centred=not transcoder, k=k, target=target if transcoder else None)
    return weights.make("sparsify", config, "unknown", folder / WEIGHTS)


def write_sparsify(dictionary: SparseAutoencoder, folder: Path | str) -> Path:
    """Write a folder that sparsify reads.

    Raises ArtifactError for what is not TopK, for thresholds, and for a change of width.
    """
    if not dictionary.k or dictionary.d_in != len(dictionary.b_dec):
        raise ArtifactError(f"the dictionary at {dictionary.site} is not TopK of one width, as all of sparsify's are")
    refuse_thresholds(dictionary, "sparsify")
    transcoder = dictionary.target is not None
    config = {
        "activation": "topk",
        "d_in": dictionary.d_in,
        "num_latents": dictionary.n_latents,
        "expansion_factor": dictionary.n_latents // dictionary.d_in,
        "k": dictionary.k,
        "normalize_decoder": True,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": transcoder,
    }
    tensors = {
        "encoder.weight": dictionary.W_enc.float().mT.contiguous(),
        "encoder.bias": dictionary.b_enc.float() if transcoder else bias_before_centering(dictionary),
        "W_dec": dictionary.W_dec.float().contiguous(),
        "b_dec": dictionary.b_dec.float(),
    }
    folder = Path(folder)
    write_bytes(folder / WEIGHTS, save(tensors))
    write_json(folder / CONFIG, config)
    return folder
