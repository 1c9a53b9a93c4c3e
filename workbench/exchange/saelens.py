"""SAELens' folders: cfg.json and sae_weights.safetensors, of version 6 and of those before."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import UNREADABLE, ArtifactError
from workbench.exchange.sae_weights import SaeWeights, config_entry, refuse, refuse_thresholds, site_of
from workbench.models.sites import Site
from workbench.runs.errors import StorageError
from workbench.runs.files import read_json, write_bytes, write_json

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
VERSION = "6.0.0"
"""What is written is of this version, and read by all later ones."""
_RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_PLAIN: dict[str, tuple[object, ...]] = {
    "normalize_activations": ("none", None, False),
    "reshape_activations": ("none",),
    "finetuning_scaling_factor": (False, None),
    "activation_fn": ("relu", "topk"),
    "hook_head_index": (None,),
}
_TENSORS = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "transcoder": ("b_enc",),
    "jumprelu_transcoder": ("b_enc", "threshold"),
}
"""What each architecture has besides both matrices and the decoder's bias."""


def read_saelens(folder: Path | str, site: Site | None = None) -> SparseAutoencoder:
    """A folder of SAELens; codes are SAELens' own, a gate is a threshold afterwards.

    Raises ArtifactError, naming the folder, if it cannot be read, is of another architecture, or does to states what
    cannot be folded into weights.
    """
    folder = Path(folder)
    try:
        config, arrays = read_json(folder / CONFIG), load_file(folder / WEIGHTS)
    except (*UNREADABLE, StorageError) as error:
        raise ArtifactError(f"{folder} cannot be read as a folder of SAELens: {error}") from error
    if not isinstance(config, dict):
        raise ArtifactError(f"{folder}: {CONFIG} holds no configuration")
    config = _version_6(config)
    about = config["metadata"]
    site, options = site or site_of(about.get("hook_name"), folder), {**about, **config}
    if site.stream == "z":
        options |= {"reshape_activations": "none"}  # "hook_z" lays heads side by side, as the states of z are here
    refuse(folder, options, _PLAIN)
    kind = config_entry({"architecture": "standard", **config}, "architecture", str, folder)
    if kind not in _TENSORS:
        raise ArtifactError(f"{folder} is of architecture {kind!r}; known are {', '.join(_TENSORS)}")
    names = {"W_enc", "W_dec", "b_dec", *_TENSORS[kind]}
    arrays.pop("scaling_factor", None)
    if names != arrays.keys():
        raise ArtifactError(f"{folder} holds {sorted(arrays)}; {kind} has {sorted(names)}")
    weights = SaeWeights(
        folder,
        arrays,
        site,
        centred="transcoder" not in kind and config.get("apply_b_dec_to_input", True) is True,
        k=config_entry(config, "k", int, folder) if kind == "topk" else None,
        by_norm=config.get("rescale_acts_by_decoder_norm", False) is True,
        target=site_of(about.get("hook_name_out"), folder) if "transcoder" in kind else None,
    )
    return weights.make("saelens", config, str(about.get("model_name", "unknown")), folder / WEIGHTS)


def _version_6(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as version 6 writes it: what was flat before stands under `metadata`."""
    about = config.get("metadata")
    version = config.get("sae_lens_version") or (about.get("sae_lens_version") if isinstance(about, dict) else None)
    if isinstance(version, str) and version.partition(".")[0].isdigit() and int(version.partition(".")[0]) >= 6:
        return {**config, "metadata": about if isinstance(about, dict) else {}}
    flat = {_RENAMED.get(name, name): value for name, value in config.items() if name != "metadata"}
    options = flat.get("activation_fn_kwargs")
    if flat.get("activation_fn") == "topk":
        flat |= {"architecture": "topk", "k": options.get("k") if isinstance(options, dict) else None}
    if "hook_z" in str(flat.get("hook_name", "")):
        flat.setdefault("reshape_activations", "hook_z")
    return {**flat, "metadata": flat}


def write_saelens(dictionary: SparseAutoencoder, folder: Path | str) -> Path:
    """Write a folder that SAELens 6 reads.

    Raises ArtifactError for what SAELens does not have: a TopK transcoder, and a TopK with thresholds.
    """
    refuse_thresholds(dictionary, "SAELens")
    kind = "topk" if dictionary.k else "jumprelu" if bool((dictionary.threshold > 0).any()) else "standard"
    if dictionary.target:
        kind = {"standard": "transcoder", "jumprelu": "jumprelu_transcoder"}.get(kind, "")
    if not kind:
        raise ArtifactError(f"SAELens has no TopK transcoders, as the one at {dictionary.site} is")
    about = {"sae_lens_version": VERSION, "model_name": dictionary.origin.model, "hook_name": str(dictionary.site)}
    config: dict[str, Any] = {
        "architecture": kind,
        "d_in": dictionary.d_in,
        "d_sae": dictionary.n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if dictionary.site.stream == "z" else "none",
    }
    if kind == "topk":
        config |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    if dictionary.target:
        config["d_out"], about["hook_name_out"] = len(dictionary.b_dec), str(dictionary.target)
    tensors = dictionary.tensors()
    kept = {"W_enc", "W_dec", "b_dec", *_TENSORS[kind]}
    folder = Path(folder)
    write_bytes(folder / WEIGHTS, save({name: tensors[name].float().contiguous() for name in kept}))
    write_json(folder / CONFIG, {**config, "metadata": about})
    return folder
