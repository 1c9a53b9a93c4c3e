"""Planted truth: a tiny model goes through a GGUF file and comes back the same."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import transformers
from gguf import GGUFWriter
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.models.gguf_samples import CHAT, N_VOCAB, Q8_0, Family, finish, write_tiny
from workbench.models.cache import WeightsError, sha256_of
from workbench.models.gguf import convert


def converted(tmp_path: Path, family: Family = "llama", **options: Any) -> tuple[Any, Path]:
    module = write_tiny(tmp_path / "tiny.gguf", family, **options)
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(tmp_path / "tiny.gguf", folder)
    return module, folder


@pytest.mark.parametrize("family", get_args(Family))
def test_the_converted_model_is_the_model_that_was_written(tmp_path: Path, family: Family) -> None:
    module, folder = converted(tmp_path, family)
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert type(again) is (transformers.LlamaForCausalLM if family == "mistral" else type(module))
    assert again.dtype == torch.float32
    ids = torch.arange(40).reshape(2, 20) * 7 % N_VOCAB
    with torch.no_grad():
        # Gemma's norms lose their last bit on the way: w + 1 - 1
        torch.testing.assert_close(again(ids).logits, module(ids).logits, rtol=1e-5, atol=2e-5)


# not those of which transformers leaves settings behind: widths of heads, windows, the context of gpt2
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "phi3", "gemma3"])
def test_the_converted_model_is_what_transformers_makes_of_the_same_file(tmp_path: Path, family: Family) -> None:
    _, folder = converted(tmp_path, family)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    theirs = reference.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_settings_that_transformers_leaves_behind_are_kept(tmp_path: Path) -> None:
    """Loaded by `gguf_file=`, the windows of phi3 and gemma3 are others, and with them the logits."""
    for family in ("phi3", "qwen3"):
        (tmp_path / family).mkdir()
        module, folder = converted(tmp_path / family, family)
        config = json.loads((folder / "config.json").read_text())
        for name in ("sliding_window", "head_dim", "rms_norm_eps", "num_key_value_heads"):
            if getattr(module.config, name, None) is not None:
                assert config[name] == getattr(module.config, name)


def test_quantised_matrices_become_the_floats_they_stand_for(tmp_path: Path) -> None:
    module, folder = converted(tmp_path, quantised=True)
    name = "model.layers.3.mlp.down_proj.weight"
    expected = dequantize(quantize(module.state_dict()[name].numpy(), Q8_0), Q8_0)
    found = load_file(folder / "model.safetensors")[name]
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=0)
    assert not torch.equal(found, module.state_dict()[name])


def test_the_configuration_is_the_one_written_not_its_float32_shadow(tmp_path: Path) -> None:
    module, folder = converted(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0}
    assert config["tie_word_embeddings"] is False
    assert [config[f"{role}_token_id"] for role in ("bos", "eos", "pad")] == [1, 2, 2]
    for name in ("hidden_size", "head_dim", "num_key_value_heads", "vocab_size", "max_position_embeddings"):
        assert config[name] == getattr(module.config, name)


def test_gemma_keeps_its_layer_pattern_and_both_rotary_bases(tmp_path: Path) -> None:
    module, folder = converted(tmp_path, "gemma3")
    config = json.loads((folder / "config.json").read_text())
    assert config["layer_types"] == ["sliding_attention"] * 5 + ["full_attention"] == module.config.layer_types
    assert {kind: rope["rope_theta"] for kind, rope in config["rope_parameters"].items()} == {
        "full_attention": 1e6,
        "sliding_attention": 1e4,
    }
    assert config["tie_word_embeddings"] is True


def test_the_folder_generates_and_chats(tmp_path: Path) -> None:
    _, folder = converted(tmp_path)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.generation_config.eos_token_id == 2
    text = tokenizer.apply_chat_template([{"role": "user", "content": "the cat"}], tokenize=False)
    assert text == "<|im_start|>user\nthe cat<|im_end|>\n"
    assert tokenizer.chat_template == CHAT
    prompt = tokenizer(text, return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert output.shape[1] == prompt.input_ids.shape[1] + 3


def test_the_same_file_becomes_the_same_bytes(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny.gguf")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        convert(tmp_path / "tiny.gguf", folder)
    one, two = ({path.name: sha256_of(path) for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert len(one) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": "blk.2.attn_q.weight"}, r"lacks 1 of the tensors of its 6 layers: blk\.2\.attn_q\.weight"),
        ({"drop": "token_embd.weight"}, r"lacks 1 of the tensors .*: token_embd\.weight"),
        ({"add": "rope_freqs.weight"}, r"tensors that the conversion of 'llama' .*: rope_freqs\.weight\. Load"),
        ({"add": "blk.weight"}, r"tensors .*: blk\.weight\. Load"),
        ({"extra": {"llama.expert_count": 8}}, r"settings that the conversion of 'llama' .*llama\.expert_count"),
        ({"extra": {"llama.rope.scaling.type": "yarn"}}, r"settings .*llama\.rope\.scaling\.type"),
        ({"extra": {"llama.rope.dimension_count": 4}}, r"llama\.rope\.dimension_count = 4, but 8 is the only"),
        (
            {"extra": {"llama.attention.head_count": 3}},
            r"blk\.0\.attn_q\.weight of shape .* rows are no two halves of 3 heads",
        ),
        ({"extra": {"llama.vocab_size": 99}}, r"llama\.vocab_size = 99, but 320"),
        ({"family": "qwen2", "drop": "blk.2.attn_k.bias"}, r"lacks 1 of the tensors .*: blk\.2\.attn_k\.bias"),
        ({"family": "qwen2", "add": "blk.2.attn_output.bias"}, r"tensors .* of 'qwen2' .*blk\.2\.attn_output\.bias"),
        ({"family": "qwen3", "add": "blk.2.attn_q.bias"}, r"tensors .* of 'qwen3' .*blk\.2\.attn_q\.bias"),
        ({"family": "phi3", "add": "rope_factors_long.weight"}, r"tensors .* of 'phi3' .*rope_factors_long\.weight"),
        ({"family": "phi3", "length": 64}, r"phi3\.rope\.scaling\.original_context_length = 64, but 128"),
    ],
)
def test_what_a_conversion_would_lose_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        converted(tmp_path, **options)


@pytest.mark.parametrize("count", [0, 10**9])
def test_a_number_of_layers_that_cannot_be_is_refused_at_once(tmp_path: Path, count: int) -> None:
    writer = GGUFWriter(tmp_path / "odd.gguf", "llama")
    writer.add_block_count(count)
    writer.add_tensor("token_embd.weight", torch.ones(4, 4).numpy())
    finish(writer)
    with pytest.raises(WeightsError, match=rf"llama\.block_count = {count}, but 1 tensors"):
        convert(tmp_path / "odd.gguf", tmp_path)


def test_unscaled_rotary_positions_are_accepted(tmp_path: Path) -> None:
    converted(tmp_path, extra={"llama.rope.scaling.type": "none"})


def test_an_unknown_architecture_names_the_known_ones(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "odd.gguf", "mamba")
    finish(writer)
    with pytest.raises(
        WeightsError, match=r"odd\.gguf has the architecture 'mamba'; .* llama, qwen2, qwen3, phi3, gemma3, gpt2"
    ):
        convert(tmp_path / "odd.gguf", tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 24, 700, 9_000, 300_000])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny(path)
    assert path.stat().st_size > 300_000
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        WeightsError, match=rf"tiny\.gguf \({kept} bytes\) cannot be read as GGUF: .* download it again"
    ):
        convert(path, tmp_path)


def test_another_format_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_text("<html>404</html>" * 99)
    with pytest.raises(WeightsError, match=r"page\.gguf .* cannot be read as GGUF"):
        convert(tmp_path / "page.gguf", tmp_path)
