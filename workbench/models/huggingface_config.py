"""What a module of transformers and its configuration say of it."""

from typing import Any


def why_not_causal(module: Any) -> str | None:
    """Why a module of transformers cannot be what the Backend promises, if it cannot."""
    if not hasattr(getattr(module, "config", None), "get_text_config"):
        return "it has no configuration as models of transformers have; give one of these, or its name"
    config = module.config.get_text_config()
    if module.config.is_encoder_decoder:
        return "an encoder reads the text, and a decoder goes on elsewhere"
    if not module.can_generate() or module.get_output_embeddings() is None:
        return "it has no head that gives the next token's logits"
    encodes = getattr(config, "is_decoder", True) is False  # so says GPT-NeoX as well, whose attention is causal
    if encodes and not any(getattr(part, "is_causal", False) for part in module.modules()):
        return "each token sees those behind it; set `is_decoder` in its configuration"
    return None


def heads_of(config: Any) -> dict[str, int]:
    """As far as the config says one number for all blocks; keys and values may have fewer heads than queries."""
    n_heads = getattr(config, "num_attention_heads", None)
    n_key_value = getattr(config, "num_key_value_heads", n_heads)
    named = {"q": n_heads, "z": n_heads, "k": n_key_value, "v": n_key_value}
    return {stream: number for stream, number in named.items() if isinstance(number, int)}
