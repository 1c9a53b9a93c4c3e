"""A tiny random model of every causal language model that TransformerLens names and transformers can build.

Three blocks of width 32 and the byte-level vocabulary of `tests/tiny.py`. An entry says which class, and what its
configuration needs beside the shared sizes; variants of one class differ where blocks, caches or heads do.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 300,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
"""What nearly every configuration takes, under these names or as an alias for its own."""

SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
LINEAR = ["linear_attention", "full_attention", "linear_attention"]
WINDOW = {"sliding_window": 8, "layer_types": SLIDING}
FULL_HEADS = {"num_key_value_heads": 4}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
DEEPSEEK = {**FULL_HEADS, **ROUTED, **LATENT, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}
STATE_SPACE = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 16}
DELTA = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": LINEAR,
}
CHUNKED = {
    "intermediate_size_mlp": 64,
    "num_local_experts": 2,
    "attention_chunk_size": 8,
    "interleave_moe_layer_step": 2,
}
PER_LAYER = {**WINDOW, "vocab_size_per_layer_input": 300, "hidden_size_per_layer_input": 8, "global_head_dim": 8}
GEMMA_3N = {
    **WINDOW,
    "intermediate_size": [64] * 3,
    "vocab_size_per_layer_input": 300,
    "hidden_size_per_layer_input": 8,
    "laurel_rank": 4,
    "num_kv_shared_layers": 0,
    "activation_sparsity_pattern": [0.0] * 3,
}
MEDIA = {"image_token_index": 290, "image_token_id": 290, "video_token_id": 291, "audio_token_id": 292}
"""Tokens that no test writes, which stand for what is not text."""


@dataclass(frozen=True)
class Tiny:
    """A class of transformers, and what its configuration needs."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    """Shared sizes that the configuration refuses."""
    text: dict[str, Any] | None = None
    """Of a model that also takes images or sound: what the configuration of its language model needs."""

    def config(self) -> Any:
        """The configuration."""
        shared = {name: value for name, value in SIZES.items() if name not in self.without}
        made = getattr(transformers, self.kind).config_class
        if self.text is None:
            return made(**{**shared, **self.settings})
        return made(text_config={**shared, **self.text}, tie_word_embeddings=False, **MEDIA, **self.settings)

    def module(self, seed: int = 0) -> Any:
        """The model in evaluation mode, whose logits are far from uniform, so that differences show."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = getattr(transformers, self.kind)(self.config()).eval().float()
            for weight in module.parameters():
                flat = weight.ndim >= 2 and weight.numel() > 64 and float(weight.detach().std()) < 0.05
                if flat:  # what an architecture initialises by a rule of its own
                    nn.init.normal_(weight, std=0.2)
        return module


def _eye(**settings: Any) -> dict[str, Any]:
    """The configuration of the smallest part that looks at images."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {**sizes, "image_size": 16, "patch_size": 8, **settings}


CLIP = _eye(model_type="clip_vision_model", projection_dim=16, num_hidden_layers=2)
EAR = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}

CORE: dict[str, Tiny] = {
    "llama": Tiny("LlamaForCausalLM"),
    "mistral": Tiny("MistralForCausalLM", {"sliding_window": 8}),
    "qwen2": Tiny("Qwen2ForCausalLM"),
    "qwen2-sliding": Tiny(
        "Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    ),
    "qwen3": Tiny("Qwen3ForCausalLM"),
    "gemma": Tiny("GemmaForCausalLM"),
    "gemma2": Tiny("Gemma2ForCausalLM", {**WINDOW, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0}),
    "gemma3": Tiny("Gemma3ForCausalLM", WINDOW),
    "phi": Tiny("PhiForCausalLM", FULL_HEADS),
    "phi3": Tiny("Phi3ForCausalLM", {"sliding_window": None}),
    "olmo2": Tiny("Olmo2ForCausalLM"),
    "cohere": Tiny("CohereForCausalLM", {"logit_scale": 0.25}),
    "glm4": Tiny("Glm4ForCausalLM"),
    "stablelm": Tiny("StableLmForCausalLM"),
    "granite": Tiny(
        "GraniteForCausalLM", {"residual_multiplier": 0.22, "embedding_multiplier": 12.0, "logits_scaling": 8.0}
    ),
    "exaone4": Tiny("Exaone4ForCausalLM", WINDOW),
    "gpt2": Tiny("GPT2LMHeadModel"),
    "gpt_neox": Tiny("GPTNeoXForCausalLM"),
    "gpt_neo": Tiny("GPTNeoForCausalLM", {"attention_types": [[["global", "local", "global"], 1]], "window_size": 8}),
    "gptj": Tiny("GPTJForCausalLM", {"rotary_dim": 4}),
    "codegen": Tiny("CodeGenForCausalLM", {"rotary_dim": 4}),
    "opt": Tiny("OPTForCausalLM", {"word_embed_proj_dim": 32, "ffn_dim": 64}),
    "opt-projected": Tiny("OPTForCausalLM", {"word_embed_proj_dim": 16, "ffn_dim": 64, "do_layer_norm_before": False}),
    "bloom": Tiny("BloomForCausalLM"),
    "falcon": Tiny("FalconForCausalLM", {"multi_query": True, "parallel_attn": True}, without=("head_dim",)),
    "mpt": Tiny("MptForCausalLM", {"expansion_ratio": 2}),
    "mixtral": Tiny("MixtralForCausalLM", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": Tiny("Qwen3MoeForCausalLM", EXPERTS),
    "gpt_oss": Tiny("GptOssForCausalLM", {**WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek_v3": Tiny("DeepseekV3ForCausalLM", DEEPSEEK, without=("head_dim",)),
    "llama4": Tiny("Llama4ForCausalLM", CHUNKED),
    "mamba": Tiny("MambaForCausalLM", {"state_size": 8}),
    "mamba2": Tiny("Mamba2ForCausalLM", {"state_size": 8, "num_heads": 8, "n_groups": 1, "chunk_size": 16}),
    "falcon_h1": Tiny(
        "FalconH1ForCausalLM",
        {
            **STATE_SPACE,
            "mamba_n_heads": 4,
            "mamba_d_ssm": 32,
            "attention_out_multiplier": 0.5,
            "ssm_out_multiplier": 0.7,
        },
    ),
    "bamba": Tiny("BambaForCausalLM", {**STATE_SPACE, "attn_layer_indices": [1]}),
    "jamba": Tiny(
        "JambaForCausalLM",
        {
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "qwen3_next": Tiny(
        "Qwen3NextForCausalLM",
        {**EXPERTS, **DELTA, "shared_expert_intermediate_size": 16},
    ),
    "lfm2": Tiny("Lfm2ForCausalLM", {"layer_types": ["conv", "full_attention", "conv"]}),
    "recurrent_gemma": Tiny("RecurrentGemmaForCausalLM", {"lru_width": 32, "attention_window_size": 8}),
    "granitemoehybrid": Tiny(
        "GraniteMoeHybridForCausalLM",
        {
            **STATE_SPACE,
            "layer_types": ["mamba", "attention", "mamba"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 32,
            "residual_multiplier": 0.22,
        },
    ),
    "zamba2": Tiny(
        "Zamba2ForCausalLM",
        {
            **FULL_HEADS,
            "mamba_d_state": 8,
            "mamba_headdim": 8,
            "mamba_ngroups": 1,
            "n_mamba_heads": 8,
            "chunk_size": 16,
            "num_mem_blocks": 1,
            "layers_block_type": ["mamba", "hybrid", "mamba"],
        },
    ),
    "gemma3-image": Tiny(
        "Gemma3ForConditionalGeneration",
        {"vision_config": _eye(), "mm_tokens_per_image": 4, "boi_token_index": 293, "eoi_token_index": 294},
        text=WINDOW,
    ),
}
"""Tried on every change: all kinds of blocks, positions, experts, caches and heads."""

OTHERS: dict[str, Tiny] = {
    "afmoe": Tiny("AfmoeForCausalLM", {**EXPERTS, **WINDOW, "num_dense_layers": 1, "num_shared_experts": 1}),
    "apertus": Tiny("ApertusForCausalLM"),
    "arcee": Tiny("ArceeForCausalLM"),
    "bitnet": Tiny("BitNetForCausalLM"),
    "cohere2": Tiny("Cohere2ForCausalLM", WINDOW),
    "deepseek_v2": Tiny("DeepseekV2ForCausalLM", {**DEEPSEEK, "q_lora_rank": None}),
    "ernie4_5": Tiny("Ernie4_5ForCausalLM"),
    "ernie4_5_moe": Tiny("Ernie4_5_MoeForCausalLM", {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16}),
    "falcon-alibi": Tiny(
        "FalconForCausalLM", {"multi_query": False, "parallel_attn": False, "alibi": True}, without=("head_dim",)
    ),
    "falcon-grouped": Tiny(
        "FalconForCausalLM", {"new_decoder_architecture": True, "num_kv_heads": 2}, without=("head_dim",)
    ),
    "falcon_mamba": Tiny("FalconMambaForCausalLM", {"state_size": 8}),
    "flex_olmo": Tiny("FlexOlmoForCausalLM", {"num_experts": 4, "num_experts_per_tok": 2}),
    "gemma4": Tiny("Gemma4ForCausalLM", PER_LAYER),
    "glm": Tiny("GlmForCausalLM"),
    "glm4_moe": Tiny("Glm4MoeForCausalLM", {**ROUTED, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}),
    "glm4_moe_lite": Tiny("Glm4MoeLiteForCausalLM", DEEPSEEK),
    "glm_moe_dsa": Tiny(
        "GlmMoeDsaForCausalLM", {**DEEPSEEK, "index_n_heads": 2, "index_head_dim": 8, "index_topk": 256}
    ),
    "gpt_bigcode": Tiny("GPTBigCodeForCausalLM"),
    "gpt_neox-sequential": Tiny("GPTNeoXForCausalLM", {"use_parallel_residual": False}),
    "granitemoe": Tiny(
        "GraniteMoeForCausalLM",
        {"num_local_experts": 4, "num_experts_per_tok": 2, "residual_multiplier": 0.22, "logits_scaling": 8.0},
    ),
    "hunyuan": Tiny("HunYuanDenseV1ForCausalLM"),
    "jais2": Tiny("Jais2ForCausalLM"),
    "jetmoe": Tiny("JetMoeForCausalLM", {"num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 8}),
    "laguna": Tiny("LagunaForCausalLM", {**EXPERTS, **WINDOW, "shared_expert_intermediate_size": 16}),
    "lfm2_moe": Tiny(
        "Lfm2MoeForCausalLM", {**EXPERTS, "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1}
    ),
    "minimax_m2": Tiny("MiniMaxM2ForCausalLM", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "ministral3": Tiny("Ministral3ForCausalLM"),
    "modernbert_decoder": Tiny("ModernBertDecoderForCausalLM", {"local_attention": 8}),
    "nanochat": Tiny("NanoChatForCausalLM"),
    "nemotron": Tiny("NemotronForCausalLM"),
    "nemotron_h": Tiny(
        "NemotronHForCausalLM",
        {
            **ROUTED,
            "layers_block_type": ["mamba", "attention", "moe"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "ssm_state_size": 8,
            "chunk_size": 16,
            "moe_shared_expert_intermediate_size": 16,
        },
    ),
    "olmo": Tiny("OlmoForCausalLM"),
    "olmo3": Tiny("Olmo3ForCausalLM", WINDOW),
    "olmo_hybrid": Tiny("OlmoHybridForCausalLM", {**DELTA, "linear_num_value_heads": 2}),
    "olmoe": Tiny("OlmoeForCausalLM", {"num_experts": 4, "num_experts_per_tok": 2}),
    "openai_gpt": Tiny("OpenAIGPTLMHeadModel"),
    "phi3-sliding": Tiny("Phi3ForCausalLM", {"sliding_window": 8}),
    "qwen2_moe": Tiny("Qwen2MoeForCausalLM", {**EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3_5": Tiny("Qwen3_5ForCausalLM", {**DELTA, **SECTIONS}),
    "qwen3_5_moe": Tiny(
        "Qwen3_5MoeForCausalLM", {**EXPERTS, **DELTA, **SECTIONS, "shared_expert_intermediate_size": 16}
    ),
    "rwkv": Tiny("RwkvForCausalLM", {"rescale_every": 2}),
    "seed_oss": Tiny("SeedOssForCausalLM"),
    "smollm3": Tiny("SmolLM3ForCausalLM", {"no_rope_layers": [1, 1, 0]}),
    "stablelm-parallel": Tiny("StableLmForCausalLM", {"use_parallel_residual": True, "qk_layernorm": True}),
    "starcoder2": Tiny("Starcoder2ForCausalLM", {"sliding_window": 8}),
    "vaultgemma": Tiny("VaultGemmaForCausalLM", WINDOW),
    "xglm": Tiny("XGLMForCausalLM", {"ffn_dim": 64, "init_std": 0.2}),
    "youtu": Tiny("YoutuForCausalLM", {**FULL_HEADS, **LATENT}, without=("head_dim",)),
    "llava": Tiny("LlavaForConditionalGeneration", {"vision_config": CLIP}, text={"model_type": "llama"}),
    "llava_next": Tiny("LlavaNextForConditionalGeneration", {"vision_config": CLIP}, text={"model_type": "llama"}),
    "llava_onevision": Tiny(
        "LlavaOnevisionForConditionalGeneration",
        {"vision_config": _eye(model_type="siglip_vision_model", num_hidden_layers=2)},
        text={"model_type": "qwen2"},
    ),
    "mistral3-image": Tiny(
        "Mistral3ForConditionalGeneration",
        {"vision_config": _eye(model_type="pixtral")},
        text={"model_type": "mistral", "sliding_window": None},
    ),
    "idefics3": Tiny(
        "Idefics3ForConditionalGeneration",
        {"vision_config": _eye(), "scale_factor": 1},
        text={"model_type": "llama", "pad_token_id": 2},
    ),
    "llama4-image": Tiny(
        "Llama4ForConditionalGeneration",
        {"vision_config": _eye(vision_output_dim=16, projector_input_dim=16, projector_output_dim=16)},
        text=CHUNKED,
    ),
    "gemma4-image": Tiny(
        "Gemma4ForConditionalGeneration",
        {"vision_config": _eye(num_key_value_heads=2, head_dim=8), "audio_config": None},
        text=PER_LAYER,
    ),
    "qwen2_audio": Tiny("Qwen2AudioForConditionalGeneration", {"audio_config": EAR}, text={"model_type": "qwen2"}),
    "glm_asr": Tiny(
        "GlmAsrForConditionalGeneration",
        {"audio_config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}},
        text={"model_type": "llama"},
    ),
}
"""Tried with `--all-architectures`."""

ARCHITECTURES = CORE | OTHERS

REFUSED: dict[str, tuple[Tiny, str]] = {
    "deepseek_v4": (Tiny("DeepseekV4ForCausalLM", ROUTED), "is not a module's input or output on"),
    "hrm_text": (Tiny("HrmTextForCausalLM"), "is not one stack of blocks"),
    "gemma3n": (Tiny("Gemma3nForCausalLM", GEMMA_3N), "TransformerLens has no adapter for"),
}
"""Without a residual stream that TransformerLens names, and what the refusal says in front of or behind the class."""
