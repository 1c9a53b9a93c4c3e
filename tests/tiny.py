"""Tiny models with random weights and a byte-level tokenizer, built from configs: what most tests run on."""

from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from workbench.models.model import Model, wrap
from workbench.models.places import Architecture

Family = Literal["llama", "gpt2", "gemma3"]
FAMILIES: tuple[Family, ...] = ("llama", "gpt2", "gemma3")
CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}[end]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def tiny_tokenizer(*, bos: bool = True, pad_is_eos: bool = False, chat: bool = True) -> Any:
    """One token for each byte; BOS has id 0. `bos` tells whether the tokenizer puts BOS in front by itself."""
    special = ["<bos>", "<eos>", "<pad>"]
    vocab = {token: number for number, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<eos>" if pad_is_eos else "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **names)
    tokenizer.chat_template = CHAT if chat else None
    return tokenizer


def tiny_module(family: Family, *, n_layers: int = 3, seed: int = 0) -> Any:
    """A random model of 3 layers and width 32 whose logits are far from uniform, so that differences show."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": n_layers, "num_attention_heads": 4}
    grouped = {**size, "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 256}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "initializer_range": 0.2}
    ends["tie_word_embeddings"] = False  # with tied ones a random model repeats its last token for ever
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "llama":
            module = transformers.LlamaForCausalLM(transformers.LlamaConfig(**grouped, **ends))
        elif family == "gemma3":
            kinds = [("sliding_attention", "full_attention")[layer % 2] for layer in range(n_layers)]
            config = transformers.Gemma3TextConfig(**grouped, **ends, head_dim=8, sliding_window=16, layer_types=kinds)
            module = transformers.Gemma3ForCausalLM(config)
        else:
            old = {"n_embd": 32, "n_layer": n_layers, "n_head": 4, "vocab_size": 300, "n_positions": 256}
            module = transformers.GPT2LMHeadModel(transformers.GPT2Config(**old, **ends))
    return module.eval()


def tiny_model(family: Family = "llama", **options: Any) -> Model:
    """A Model around a tiny module, with a tokenizer that uses BOS."""
    return wrap(tiny_module(family, **options), tiny_tokenizer(), f"tiny-{family}")


def blocks_of(model: Model) -> Any:
    """The blocks of the plain module."""
    return model.module.get_submodule(Architecture.of(model.module).blocks)


def tiny_folder(root: Path, context: int = 4096, family: Family = "llama") -> Path:
    """A tiny model and its tokenizer on disk, as a hub would have them, reading up to `context` tokens."""
    module = tiny_module(family)
    module.config.max_position_embeddings = context
    module.save_pretrained(root / "tiny")
    tiny_tokenizer().save_pretrained(root / "tiny")
    return root / "tiny"
