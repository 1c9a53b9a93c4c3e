"""Tiny GGUF files, written as llama.cpp's `convert_hf_to_gguf.py` writes them, from tiny Hugging Face models.

Tensor names come from the gguf package's own table, so they are independent of the tables under test.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, get_tensor_name_map
from gguf.quants import quantize
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

Family = Literal["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3", "gpt2"]
Q8_0 = GGMLQuantizationType.Q8_0
ARCHITECTURES = {
    "llama": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
    "phi3": MODEL_ARCH.PHI3,
    "gemma3": MODEL_ARCH.GEMMA3,
    "gpt2": MODEL_ARCH.GPT2,
}
CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
N_LAYERS = 6  # the sixth layer of a Gemma is the first that attends to everything
N_VOCAB = 320
TEXT = "the cat sat on the mat, then the other cats sat there too; 12 345 6789 def f(x): return x**2\n\n    café ½ 猫 "


def write_tiny(path: Path, family: Family = "llama", **options: Any) -> Any:
    """Write a GGUF file of a tiny random model with a byte-level tokenizer; returns the Hugging Face model.

    `quantised` stores the matrices as Q8_0, `drop` names a tensor to leave out, `add` one to add, and `extra` holds
    further metadata: unsigned integers and strings. `length` is the context from which phi3 scales its positions.
    """
    module = tiny_module(family)
    family = "llama" if family == "mistral" else family  # as llama.cpp calls it
    writer = GGUFWriter(path, family)
    write_shape(writer, module.config, family, options.get("length"))
    write_byte_level(writer, byte_level_tokenizer())
    for key, value in options.get("extra", {}).items():
        writer.add_string(key, value) if isinstance(value, str) else writer.add_uint32(key, value)
    write_tensors(writer, module, family, options.get("quantised", False), options.get("drop", ""))
    if "add" in options:
        writer.add_tensor(options["add"], np.ones(4, np.float32))
    finish(writer)
    return module


def tiny_module(family: Family) -> Any:
    """A random model in which no two parameters are alike, norms and biases included."""
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 4,
    }
    grouped: dict[str, Any] = {
        **shape,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": N_VOCAB,
        "max_position_embeddings": 128,
    }
    gemma: dict[str, Any] = {"sliding_window": 4, "query_pre_attn_scalar": 8}
    gpt2: dict[str, Any] = {
        "n_embd": 32,
        "n_inner": 64,
        "n_layer": N_LAYERS,
        "n_head": 4,
        "n_positions": 128,
        "vocab_size": N_VOCAB,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "llama":
            config = transformers.LlamaConfig(**grouped, rms_norm_eps=1e-5, tie_word_embeddings=False)
            module = transformers.LlamaForCausalLM(config)
        elif family == "mistral":
            config = transformers.MistralConfig(**grouped, sliding_window=None)
            module = transformers.MistralForCausalLM(config)
        elif family == "qwen2":
            config = transformers.Qwen2Config(**grouped, tie_word_embeddings=True, **theta(1e6))
            module = transformers.Qwen2ForCausalLM(config)
        elif family == "qwen3":
            config = transformers.Qwen3Config(**grouped | {"head_dim": 16}, tie_word_embeddings=False, **theta(1e6))
            module = transformers.Qwen3ForCausalLM(config)
        elif family == "phi3":
            config = transformers.Phi3Config(**grouped, sliding_window=6, pad_token_id=2)
            module = transformers.Phi3ForCausalLM(config)
        elif family == "gemma3":
            module = transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**grouped, **gemma))
        else:
            module = transformers.GPT2LMHeadModel(transformers.GPT2Config(**gpt2))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


def theta(base: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": base}}


def byte_level_tokenizer() -> Tokenizer:
    """A byte-level BPE with SmolLM's pre-tokenizer."""
    tokenizer = Tokenizer(BPE())
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=N_VOCAB, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT * 9], trainer)
    return tokenizer


def write_byte_level(writer: GGUFWriter, tokenizer: Tokenizer, pre: str = "smollm") -> None:
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__) + [f"[PAD{i}]" for i in range(len(vocabulary), N_VOCAB)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in _merges(tokenizer)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT)


def write_shape(writer: GGUFWriter, config: Any, family: Family, length: int | None = None) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_feed_forward_length(64)
    if family == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if family in ("llama", "qwen3", "gemma3"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    else:
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["full_attention"]["rope_theta"] if family == "gemma3" else rope["rope_theta"])
    if family in ("gemma3", "phi3"):
        writer.add_sliding_window(config.sliding_window)
    if family == "phi3":
        writer.add_rope_scaling_orig_ctx_len(length or config.max_position_embeddings)


def write_tensors(writer: GGUFWriter, module: Any, family: Family, quantised: bool, drop: str) -> None:
    names = get_tensor_name_map(ARCHITECTURES[family], N_LAYERS)
    for name, parameter in module.state_dict().items():
        stem, _, leaf = name.rpartition(".")
        target = f"{names.get_name(stem)}.{leaf}"
        if target == drop or (target == "output.weight" and module.config.tie_word_embeddings):
            continue
        values = np.ascontiguousarray(as_llama_cpp(stem, parameter, module.config).numpy())
        if quantised and values.ndim == 2:
            writer.add_tensor(target, quantize(values, Q8_0), raw_dtype=Q8_0)
        else:
            writer.add_tensor(target, values)


def as_llama_cpp(stem: str, values: torch.Tensor, config: Any) -> torch.Tensor:
    """What llama.cpp does to the values: `permute` for Llama, `+ 1` for Gemma's norms, a transposition for GPT-2."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", 0)}
    leaf = stem.rpartition(".")[2]
    if config.model_type in ("llama", "mistral") and leaf in heads:
        halves = values.reshape(heads[leaf], 2, values.shape[0] // heads[leaf] // 2, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape)
    if config.model_type == "gemma3_text" and stem.endswith("norm"):
        return values + 1
    if config.model_type == "gpt2" and leaf in {"c_attn", "c_proj", "c_fc"} and values.ndim == 2:
        return values.T
    return values


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
