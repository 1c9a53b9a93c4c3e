"""How each architecture that llama.cpp writes becomes a transformers model: names, values, configuration.

Source of the names and of what is done to the values: `convert_hf_to_gguf.py` of llama.cpp, undone here. A tensor or a
metadata key that is not listed is refused, because leaving it out would change what the model computes.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float

from workbench.models.cache import WeightsError
from workbench.models.gguf_reader import Gguf

TransformersConfig = dict[str, Any]
Restore = Callable[[str, Float[np.ndarray, "..."], TransformersConfig], Float[np.ndarray, "..."]]


@dataclass(frozen=True)
class GGUFArchitecture:
    """One value of `general.architecture`."""

    name: str
    modules: Mapping[str, str]
    """GGUF tensor name -> module of the transformers model, both without `.weight`; `*` is the layer."""
    keys: frozenset[str]
    """Metadata keys, without the architecture's prefix, that `config` uses or that say nothing more."""
    config: Callable[[Gguf], TransformersConfig]
    """The content of `config.json`, less what all architectures share."""
    restore: Restore = lambda tensor, values, config: values
    """(GGUF tensor name, values, config) -> the values that transformers expects."""
    biased: Callable[[Gguf], Collection[str]] = lambda source: ()
    """Which of the modules have a bias in a file, by GGUF name: in transformers they then have one in every layer."""

    def parameters(self, source: Gguf) -> dict[str, str]:
        """GGUF tensor name -> transformers parameter name, for every tensor of a file.

        Raises `WeightsError` for a setting or a tensor that a conversion would lose, and for a missing tensor.
        """
        named = {tensor: self._parameter(tensor) for tensor in source.tensors}
        n_layers = source[f"{self.name}.block_count"]
        if type(n_layers) is not int or not 0 < n_layers <= len(named):
            raise WeightsError(
                f"{source.path} has {self.name}.block_count = {n_layers!r:.80}, but {len(named)} tensors."
            )
        required = self._required(source, n_layers)
        unknown = {tensor for tensor, parameter in named.items() if parameter is None}
        biases = {tensor for tensor in named if tensor.endswith(".bias")} - required
        self._refuse(source, "settings", self._unknown_keys(source))
        self._refuse(source, "tensors", unknown | biases)
        if missing := required - named.keys():
            raise WeightsError(
                f"{source.path} lacks {len(missing)} of the tensors of its {n_layers} layers: "
                f"{', '.join(sorted(missing)[:3])} ... If it is one part of several, merge them first."
            )
        return {tensor: parameter for tensor, parameter in named.items() if parameter is not None}

    def _parameter(self, tensor: str) -> str | None:
        stem, _, leaf = tensor.rpartition(".")
        block, *rest = stem.split(".")
        layer, pattern = (rest[0], ".".join(["blk", "*", *rest[1:]])) if block == "blk" and rest else ("", stem)
        module = self.modules.get(pattern)
        return None if module is None else f"{module.replace('*', layer)}.{leaf}"

    def _unknown_keys(self, source: Gguf) -> set[str]:
        prefix = f"{self.name}."
        keys = {key for key in source.metadata if key.startswith(prefix) and key.removeprefix(prefix) not in self.keys}
        unscaled = source.metadata.get(f"{prefix}rope.scaling.type") == "none"
        return keys - {f"{prefix}rope.scaling.type"} if unscaled else keys

    def _refuse(self, source: Gguf, what: str, names: set[str]) -> None:
        if names:
            raise WeightsError(
                f"{source.path} has {what} that the conversion of {self.name!r} does not know: "
                f"{', '.join(sorted(names))}. Load the original Hugging Face folder instead."
            )

    def _required(self, source: Gguf, n_layers: int) -> set[str]:
        patterns = [f"{pattern}.weight" for pattern in self.modules if pattern != "output"]
        patterns += [f"{pattern}.bias" for pattern in self.biased(source)]
        return {pattern.replace("*", str(layer)) for pattern in patterns for layer in range(n_layers)}


def architecture_of(source: Gguf) -> GGUFArchitecture:
    """The architecture a file names; raises `WeightsError` when it is not one of `ARCHITECTURES`."""
    name = source.text("general.architecture")
    if name not in ARCHITECTURES:
        raise WeightsError(
            f"{source.path} has the architecture {name!r}; GGUF files of {', '.join(ARCHITECTURES)} can be converted. "
            "Load the original Hugging Face folder instead."
        )
    return ARCHITECTURES[name]


def _decoder_config(source: Gguf, model: str, model_type: str) -> TransformersConfig:
    """What Llama and its relatives say in the same words."""
    name = source.text("general.architecture")
    n_heads, d_model = source.whole(f"{name}.attention.head_count"), source.whole(f"{name}.embedding_length")

    def whole(key: str, absent: int) -> int:
        return source.whole(f"{name}.{key}") if f"{name}.{key}" in source.metadata else absent

    return {
        "architectures": [f"{model}ForCausalLM"],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": d_model,
        "intermediate_size": source.whole(f"{name}.feed_forward_length"),
        "num_hidden_layers": source.whole(f"{name}.block_count"),
        "num_attention_heads": n_heads,
        # the GGUF specification: where these two are absent, every head has its own keys, and theta is 10000
        "num_key_value_heads": whole("attention.head_count_kv", n_heads),
        "rope_parameters": {"rope_type": "default", "rope_theta": _rope_theta(source, f"{name}.rope.freq_base")},
        "head_dim": whole("attention.key_length", d_model // n_heads),
        "max_position_embeddings": source.whole(f"{name}.context_length"),
        "rms_norm_eps": source.number(f"{name}.attention.layer_norm_rms_epsilon"),
    }


def _llama_config(source: Gguf) -> TransformersConfig:
    return _decoder_config(source, "Llama", "llama") | {
        "attention_bias": "blk.0.attn_q.bias" in source.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in source.tensors,
    }


def _llama_biased(source: Gguf) -> set[str]:
    attention = {"blk.*.attn_q", "blk.*.attn_k", "blk.*.attn_v", "blk.*.attn_output"}
    mlp = {"blk.*.ffn_gate", "blk.*.ffn_up", "blk.*.ffn_down"}
    config = _llama_config(source)
    return (attention if config["attention_bias"] else set()) | (mlp if config["mlp_bias"] else set())


def _qwen2_config(source: Gguf) -> TransformersConfig:
    return _decoder_config(source, "Qwen2", "qwen2")


def _qwen3_config(source: Gguf) -> TransformersConfig:
    return _decoder_config(source, "Qwen3", "qwen3")


def _phi3_config(source: Gguf) -> TransformersConfig:
    key = "phi3.attention.sliding_window"
    window = source.whole(key) if source.metadata.get(key) else None
    # without a padding token of the file's own, transformers would take one beyond small vocabularies
    return _decoder_config(source, "Phi3", "phi3") | {"sliding_window": window, "pad_token_id": None}


def _gemma3_config(source: Gguf) -> TransformersConfig:
    n_layers = source.whole("gemma3.block_count")
    # every sixth layer attends to everything: a constant of Gemma 3, in llama.cpp as in transformers
    layer_types = ["sliding_attention" if (layer + 1) % 6 else "full_attention" for layer in range(n_layers)]
    theta = {
        "full_attention": _rope_theta(source, "gemma3.rope.freq_base"),
        "sliding_attention": _rope_theta(source, "gemma3.rope.freq_base_swa"),
    }
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": source.whole("gemma3.embedding_length"),
        "intermediate_size": source.whole("gemma3.feed_forward_length"),
        "num_hidden_layers": n_layers,
        "num_attention_heads": source.whole("gemma3.attention.head_count"),
        "num_key_value_heads": source.whole("gemma3.attention.head_count_kv"),
        "head_dim": source.whole("gemma3.attention.key_length"),
        "query_pre_attn_scalar": source.whole("gemma3.attention.key_length"),
        "sliding_window": source.whole("gemma3.attention.sliding_window"),
        "layer_types": layer_types,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": value} for kind, value in theta.items()},
        "max_position_embeddings": source.whole("gemma3.context_length"),
        "rms_norm_eps": source.number("gemma3.attention.layer_norm_rms_epsilon"),
    }


def _gpt2_config(source: Gguf) -> TransformersConfig:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_embd": source.whole("gpt2.embedding_length"),
        "n_inner": source.whole("gpt2.feed_forward_length"),
        "n_layer": source.whole("gpt2.block_count"),
        "n_head": source.whole("gpt2.attention.head_count"),
        "n_positions": source.whole("gpt2.context_length"),
        "layer_norm_epsilon": source.number("gpt2.attention.layer_norm_epsilon"),
    }


def _rope_theta(source: Gguf, key: str) -> float:
    return source.number(key) if key in source.metadata else 10000.0


def _restore_llama(
    tensor: str, values: Float[np.ndarray, "..."], config: TransformersConfig
) -> Float[np.ndarray, "..."]:
    """Undo the row order of q and k: llama.cpp interleaves the two halves of a head, which transformers rotates.

    Raises ValueError for rows that are no such halves.
    """
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    n_heads = heads.get(tensor.split(".")[-2])
    if n_heads is None:
        return values
    if len(values) % (2 * n_heads):
        raise ValueError(f"{len(values)} rows are no two halves of {n_heads} heads each")
    return rearrange(values, "(head pair half) ... -> (head half pair) ...", head=n_heads, half=2)


def _restore_gemma(tensor: str, values: Float[np.ndarray, "..."], _: TransformersConfig) -> Float[np.ndarray, "..."]:
    """Gemma multiplies by 1 + weight; llama.cpp stores the sum."""
    return values - np.float32(1) if tensor.endswith("norm.weight") else values


def _restore_gpt2(tensor: str, values: Float[np.ndarray, "..."], _: TransformersConfig) -> Float[np.ndarray, "..."]:
    """GPT-2's Conv1D keeps its weights as [in, out]."""
    conv1d = tensor.split(".")[-2] in {"attn_qkv", "attn_output", "ffn_up", "ffn_down"}
    return values.T if conv1d and values.ndim == 2 else values


_DECODER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.*.attn_norm": "model.layers.*.input_layernorm",
    "blk.*.attn_q": "model.layers.*.self_attn.q_proj",
    "blk.*.attn_k": "model.layers.*.self_attn.k_proj",
    "blk.*.attn_v": "model.layers.*.self_attn.v_proj",
    "blk.*.attn_output": "model.layers.*.self_attn.o_proj",
    "blk.*.ffn_gate": "model.layers.*.mlp.gate_proj",
    "blk.*.ffn_up": "model.layers.*.mlp.up_proj",
    "blk.*.ffn_down": "model.layers.*.mlp.down_proj",
}
_LLAMA = _DECODER | {"blk.*.ffn_norm": "model.layers.*.post_attention_layernorm"}
_GEMMA3 = _DECODER | {
    "blk.*.attn_q_norm": "model.layers.*.self_attn.q_norm",
    "blk.*.attn_k_norm": "model.layers.*.self_attn.k_norm",
    "blk.*.post_attention_norm": "model.layers.*.post_attention_layernorm",
    "blk.*.ffn_norm": "model.layers.*.pre_feedforward_layernorm",
    "blk.*.post_ffw_norm": "model.layers.*.post_feedforward_layernorm",
}
_QWEN3 = _LLAMA | {
    "blk.*.attn_q_norm": "model.layers.*.self_attn.q_norm",
    "blk.*.attn_k_norm": "model.layers.*.self_attn.k_norm",
}
_APART = ("blk.*.attn_q", "blk.*.attn_k", "blk.*.attn_v", "blk.*.ffn_gate")
_PHI3 = {name: module for name, module in _LLAMA.items() if name not in _APART} | {
    "blk.*.attn_qkv": "model.layers.*.self_attn.qkv_proj",
    "blk.*.ffn_up": "model.layers.*.mlp.gate_up_proj",
}
_GPT2 = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.*.attn_norm": "transformer.h.*.ln_1",
    "blk.*.attn_qkv": "transformer.h.*.attn.c_attn",
    "blk.*.attn_output": "transformer.h.*.attn.c_proj",
    "blk.*.ffn_norm": "transformer.h.*.ln_2",
    "blk.*.ffn_up": "transformer.h.*.mlp.c_fc",
    "blk.*.ffn_down": "transformer.h.*.mlp.c_proj",
}
_SHAPE_KEYS = {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"}
_RMS_KEYS = {"attention.layer_norm_rms_epsilon", "attention.head_count_kv", "attention.key_length", "rope.freq_base"}
_SAID_TWICE = {"vocab_size", "attention.value_length", "rope.dimension_count"}

_DECODER_KEYS = frozenset(_SHAPE_KEYS | _RMS_KEYS | _SAID_TWICE)
_SLIDING_KEYS = _DECODER_KEYS | {"attention.sliding_window"}

ARCHITECTURES: dict[str, GGUFArchitecture] = {
    one.name: one
    for one in (
        # Mistral's files say llama too: the same computation, as long as a text fits its window
        GGUFArchitecture("llama", _LLAMA, _DECODER_KEYS, _llama_config, _restore_llama, _llama_biased),
        GGUFArchitecture(
            "qwen2", _LLAMA, _DECODER_KEYS, _qwen2_config, biased=lambda source: [f"blk.*.attn_{x}" for x in "qkv"]
        ),
        GGUFArchitecture("qwen3", _QWEN3, _DECODER_KEYS, _qwen3_config),
        GGUFArchitecture("phi3", _PHI3, _SLIDING_KEYS | {"rope.scaling.original_context_length"}, _phi3_config),
        GGUFArchitecture("gemma3", _GEMMA3, _SLIDING_KEYS | {"rope.freq_base_swa"}, _gemma3_config, _restore_gemma),
        GGUFArchitecture(
            "gpt2",
            _GPT2,
            frozenset(_SHAPE_KEYS | {"attention.layer_norm_epsilon"}),
            _gpt2_config,
            _restore_gpt2,
            biased=lambda source: _GPT2.keys() - {"token_embd", "position_embd", "output"},
        ),
    )
}
