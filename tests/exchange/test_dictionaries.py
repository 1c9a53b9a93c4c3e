"""Files of other projects: SAELens' own codes of its own files, definitions of the others, round trips, refusals."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.artifacts.examples import ORIGIN, SITE, normal
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import ArtifactError
from workbench.exchange.dictionaries import load_dictionary
from workbench.exchange.dictionary_learning import write_dictionary_learning
from workbench.exchange.gemma_scope import write_gemma_scope
from workbench.exchange.saelens import write_saelens
from workbench.exchange.sparsify import write_sparsify
from workbench.models.model import Model
from workbench.models.sites import Site

THEIRS = Path(__file__).parents[1] / "probes" / "sae" / "saelens"
CODES = load_file(THEIRS / "losses.safetensors")
X, D, N = normal(20, 6), 6, 14


def dictionary(kind: str) -> SparseAutoencoder:
    threshold = normal(N, seed=5).abs() if kind == "jumprelu" else torch.zeros(N)
    arrays = (normal(D, N, seed=1), normal(N, seed=2), normal(N, D, seed=3), normal(D, seed=4), threshold)
    return SparseAutoencoder(ORIGIN, SITE, *arrays, k=3 if kind == "topk" else None)


@pytest.mark.parametrize("name", [folder.name for folder in THEIRS.iterdir() if folder.is_dir()])
def test_codes_of_a_folder_of_saelens_are_its_own(name: str) -> None:
    found = load_dictionary(THEIRS / name)
    torch.testing.assert_close(found.encode(CODES["x"]), CODES[f"{name}.saved_codes"], atol=1e-5, rtol=1e-5)
    assert (CODES[f"{name}.saved_codes"] > 0).any()
    if name == "standard_z":
        assert found.site == Site(1, "z")
    if name == "transcoder":
        assert found.target == Site(1, "mlp_out")
        torch.testing.assert_close(found.reconstruct(CODES["x"]), CODES["transcoder.output"], atol=1e-5, rtol=1e-5)
    elif not name.endswith("batchtopk"):  # which SAELens saves as JumpReLU: codes are of other states then
        torch.testing.assert_close(found.reconstruct(CODES["x"]), CODES[f"{name}.output"], atol=1e-5, rtol=1e-5)


def test_a_folder_of_a_repository_in_the_hubs_cache_is_read_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ArtifactError, match="me/saes/layer_1 is no file or folder here, and could not be had from"):
        load_dictionary("me/saes/layer_1")
    written = dictionary("jumprelu")
    repository = tmp_path / "models--me--saes"
    write_saelens(written, repository / "snapshots" / "c0ffee" / "layer_1")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c0ffee")
    found = load_dictionary("me/saes/layer_1")
    torch.testing.assert_close(found.encode(X), written.encode(X))
    with pytest.raises(ArtifactError, match="layer_2 is no file or folder here, and could not be had from"):
        load_dictionary("me/saes/layer_2")


def test_of_a_repository_only_one_dictionary_is_downloaded_and_else_its_folders_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository on the hub that holds far more than what is asked for."""
    hub = tmp_path / "hub"
    for number in range(7):
        write_saelens(dictionary("relu"), hub / "res" / f"layer_{number}")
    write_saelens(dictionary("topk"), hub)
    (hub / "model.safetensors").write_bytes(b"gigabytes")
    files = sorted(path.relative_to(hub).as_posix() for path in hub.rglob("*") if path.is_file())
    taken: list[str] = []

    def download(repository: str, allow_patterns: list[str]) -> str:
        assert repository == "me/saes"
        taken[:] = filter_repo_objects(files, allow_patterns=allow_patterns)
        here = tmp_path / f"here{len(list(tmp_path.iterdir()))}"
        for name in taken:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_bytes((hub / name).read_bytes())
        return str(here)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda repository: files)
    assert load_dictionary("me/saes").k == 3
    assert taken == ["cfg.json", "sae_weights.safetensors"]
    assert load_dictionary("me/saes/res/layer_5").k is None
    assert taken == ["res/layer_5/cfg.json", "res/layer_5/sae_weights.safetensors"]
    folders = ", ".join(f"me/saes/res/layer_{number}" for number in range(5))
    with pytest.raises(ArtifactError, match=f"me/saes/res is no .* 7 folders in it are, such as {folders}; name one"):
        load_dictionary("me/saes/res")
    assert taken == []
    with pytest.raises(ArtifactError, match=r"mlp is no folder with a dictionary, and 0 folders in it are$"):
        load_dictionary("me/saes/mlp")


WRITERS: dict[str, tuple[Callable[[SparseAutoencoder, Path], Path], str, tuple[str, ...]]] = {
    "saelens": (write_saelens, "layer_1", ("relu", "jumprelu", "topk")),
    "gemma_scope": (write_gemma_scope, "layer_1/params.npz", ("relu", "jumprelu")),
    "sparsify": (write_sparsify, "layers.1", ("topk",)),
    "dictionary_learning": (write_dictionary_learning, "layer_1", ("relu", "jumprelu", "topk")),
    "workbench": (lambda one, path: one.save(path), "one.safetensors", ("relu", "jumprelu", "topk")),
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, entry in WRITERS.items() for kind in entry[2]])
def test_what_is_written_is_read_back(name: str, kind: str, tmp_path: Path) -> None:
    write, place, _ = WRITERS[name]
    one = dictionary(kind)
    if name == "dictionary_learning" and kind != "topk":
        one = one.with_unit_rows()  # its codes count in these units
    found = load_dictionary(write(one, tmp_path / place))
    assert found.site == SITE
    assert found.k == one.k
    torch.testing.assert_close(found.encode(X), one.encode(X), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.reconstruct(X), one.reconstruct(X), atol=1e-5, rtol=1e-5)


def test_transcoders_are_written_and_read_back(tmp_path: Path) -> None:
    for kind in ("relu", "jumprelu"):
        one = replace(dictionary(kind), target=Site(1, "mlp_out"))
        found = load_dictionary(write_saelens(one, tmp_path / kind))
        assert found.target == one.target
        torch.testing.assert_close(found.reconstruct(X), one.reconstruct(X))
    one = replace(dictionary("topk"), target=Site(1, "mlp_out"))
    found = load_dictionary(write_sparsify(one, tmp_path / "layers.1.mlp"), site=SITE, target="blocks.1.hook_mlp_out")
    torch.testing.assert_close(found.reconstruct(X), one.reconstruct(X))
    for write in (write_saelens, write_gemma_scope, write_dictionary_learning):
        with pytest.raises(ArtifactError, match=r"transcoder|JumpReLU"):
            write(one, tmp_path / "no")


def test_what_does_not_read_the_residual_stream_is_not_taken_for_it(tmp_path: Path) -> None:
    elsewhere = replace(dictionary("topk"), site=Site(3, "mlp_out"))
    assert load_dictionary(write_dictionary_learning(elsewhere, tmp_path / "ours")).site == elsewhere.site
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    for name, site in (
        ("attention_out_layer_3", Site(3, "attn_out")),
        (None, Site(3)),
        ("resid_post_layer_3", Site(3)),
    ):
        config["trainer"]["submodule_name"] = name
        (tmp_path / "ours" / "config.json").write_text(json.dumps(config))
        assert load_dictionary(tmp_path / "ours").site == site
    config["trainer"]["submodule_name"] = "transformer.h.3"
    (tmp_path / "ours" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"transformer.h.3.*give the `site` yourself"):
        load_dictionary(tmp_path / "ours")

    for repository in ("gemma-scope-2b-pt-mlp", "gemma-scope-2b-pt-att", "gemma-scope-2b-pt-transcoders"):
        path = write_gemma_scope(dictionary("jumprelu"), tmp_path / repository / "layer_5" / "params.npz")
        with pytest.raises(ArtifactError, match="does not read the residual stream"):
            load_dictionary(path)
    with pytest.raises(ArtifactError, match="a transcoder's `target`"):
        load_dictionary(path, site="blocks.5.ln2.hook_normalized")
    found = load_dictionary(path, site="blocks.5.ln2.hook_normalized", target="blocks.5.hook_mlp_out")
    assert found.target == Site(5, "mlp_out")
    path = write_gemma_scope(dictionary("jumprelu"), tmp_path / "layer_3_notes" / "layer_20" / "params.npz")
    assert load_dictionary(path).site == Site(20)
    with pytest.raises(ArtifactError, match="leave `target` out"):
        load_dictionary(tmp_path / "ours", site=Site(1), target="blocks.1.hook_mlp_out")


@pytest.mark.parametrize("name", [name for name, entry in WRITERS.items() if "topk" in entry[2]])
def test_thresholds_of_a_topk_are_written_or_refused(name: str, tmp_path: Path) -> None:
    write, place, _ = WRITERS[name]
    limited = replace(dictionary("topk"), threshold=torch.full((N,), 0.5))
    assert not torch.equal(limited.encode(X), dictionary("topk").encode(X))
    if name == "workbench":
        found = load_dictionary(write(limited, tmp_path / place))
        assert torch.equal(found.encode(X), limited.encode(X))
    else:
        with pytest.raises(ArtifactError, match="no TopK with thresholds"):
            write(limited, tmp_path / place)
        assert not (tmp_path / place).exists()


def test_what_saelens_cannot_say_is_neither_written_nor_guessed(tmp_path: Path) -> None:
    folder = write_saelens(dictionary("relu"), tmp_path / "one")
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["hook_name"] = "hook_embed"
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"one: .*hook_embed.*give the `site` yourself"):
        load_dictionary(folder)
    old = {"architecture": "standard", "hook_name": "blocks.1.hook_resid_post", "activation_fn_str": "topk"}
    (folder / "cfg.json").write_text(json.dumps(old))
    with pytest.raises(ArtifactError, match="k is None, expected int"):
        load_dictionary(folder)


def test_a_transcoder_reads_its_states_as_they_are_whatever_its_options_say(tmp_path: Path) -> None:
    one = replace(dictionary("relu"), target=Site(1, "mlp_out"))
    folder = write_saelens(one, tmp_path / "one")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"apply_b_dec_to_input": True}))
    torch.testing.assert_close(load_dictionary(folder).encode(X), one.encode(X))


def test_heads_are_side_by_side_in_states_of_z_and_nowhere_else(tmp_path: Path) -> None:
    one = replace(dictionary("relu"), site=Site(1, "z"))
    folder = write_saelens(one, tmp_path / "one")
    config = json.loads((folder / "cfg.json").read_text())
    assert config["reshape_activations"] == "hook_z"
    found = load_dictionary(folder)
    assert found.site == one.site
    torch.testing.assert_close(found.encode(X), one.encode(X))
    with pytest.raises(ArtifactError, match="reshape_activations 'hook_z'"):
        load_dictionary(folder, site=SITE)


def test_a_folder_of_an_earlier_saelens_is_read(tmp_path: Path) -> None:
    """Version 5: flat, with its defaults left out; a bias that is subtracted by default."""
    w = load_file(THEIRS / "topk" / "sae_weights.safetensors")
    save_file(w, tmp_path / "sae_weights.safetensors")
    config = {"hook_point": "blocks.1.hook_resid_post", "hook_point_head_index": None, "model_name": "tiny",
              "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}, "normalize_activations": False,
              "d_in": D, "d_sae": N}  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    found = load_dictionary(tmp_path)
    values, index = ((X - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu().topk(2, dim=1)
    torch.testing.assert_close(found.encode(X), torch.zeros(20, N).scatter(1, index, values), atol=1e-5, rtol=1e-5)
    assert found.origin.model == "tiny"


def test_sparsify_and_dictionary_learning_by_their_definitions(tmp_path: Path) -> None:
    encoder, bias, decoder, center = normal(N, D), normal(N, seed=1), normal(N, D, seed=2), normal(D, seed=3)
    pre = ((X - center) @ encoder.T + bias).relu()
    values, index = pre.topk(3, dim=1)
    topk = torch.zeros(20, N).scatter(1, index, values)
    where = tmp_path / "layers.4.mlp"
    where.mkdir()
    save_file({"encoder.weight": encoder, "encoder.bias": bias, "W_dec": decoder, "b_dec": center},
              where / "sae.safetensors")  # fmt: skip
    (where / "cfg.json").write_text(json.dumps({"k": 3, "activation": "topk", "d_in": D}))
    found = load_dictionary(where)
    assert found.site == Site(4, "mlp_out")
    torch.testing.assert_close(found.encode(X), topk, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.reconstruct(X), topk @ decoder + center, atol=1e-5, rtol=1e-5)

    linear = {"encoder.weight": encoder, "encoder.bias": bias, "decoder.weight": decoder.T.contiguous()}
    gates = {"encoder.weight": encoder, "r_mag": normal(N, seed=4), "gate_bias": normal(N, seed=5)}
    gates |= {"mag_bias": normal(N, seed=6), "decoder.weight": decoder.T.contiguous(), "decoder_bias": center}
    inner = (X - center) @ encoder.T
    open_ = (inner + gates["gate_bias"] > 0) * (inner * gates["r_mag"].exp() + gates["mag_bias"]).relu()
    cases: list[tuple[str, dict[str, Tensor], Tensor]] = [
        ("AutoEncoder", {**linear, "bias": center}, pre),
        ("AutoEncoderTopK", {**linear, "b_dec": center, "k": torch.tensor(3), "threshold": torch.tensor(-1.0)}, topk),
        ("BatchTopKSAE", {**linear, "b_dec": center, "k": torch.tensor(3), "threshold": torch.tensor(0.8)},
         pre * (pre > 0.8)),
        ("GatedAutoEncoder", gates, open_),
    ]  # fmt: skip
    for kind, state, codes in cases:
        folder = tmp_path / kind
        folder.mkdir()
        torch.save(state, folder / "ae.pt")
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": kind, "layer": 2}}))
        found = load_dictionary(folder)
        assert found.site == Site(2)
        torch.testing.assert_close(found.reconstruct(X), codes @ decoder + center, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.encode(X) > 0, codes > 0)


class Trap:
    """What a hostile file would hold."""

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return print, ("this must never run",)


def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder", "layer": 0}}))
    torch.save({"encoder.weight": Trap()}, tmp_path / "ae.pt")
    with pytest.raises(ArtifactError, match=r"ae\.pt holds more than tensors, and is not unpickled"):
        load_dictionary(tmp_path)
    buffer = io.BytesIO()
    np.savez(buffer, W_enc=np.array([Trap()], dtype=object))
    (tmp_path / "params.npz").write_bytes(buffer.getvalue())
    with pytest.raises(ArtifactError, match=r"params\.npz cannot be read"):
        load_dictionary(tmp_path / "params.npz")
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("is_zip", [True, False])
def test_weights_of_a_pickle_that_are_cut_are_refused(tmp_path: Path, is_zip: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder", "layer": 0}}))
    path = tmp_path / "ae.pt"
    torch.save({"encoder.weight": torch.ones(2, 3)}, path, _use_new_zipfile_serialization=is_zip)
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(ArtifactError, match=r"cannot be read|ae\.pt"):
            load_dictionary(tmp_path)


def saelens_with(folder: Path, changes: dict[str, Any] | None = None, **arrays: Tensor) -> Path:
    """A folder of SAELens with another configuration or other arrays."""
    write_saelens(dictionary("topk"), folder)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | (changes or {})))
    save_file(load_file(folder / "sae_weights.safetensors") | arrays, folder / "sae_weights.safetensors")
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: saelens_with(folder, {"normalize_activations": "layer_norm"}), "normalize_activations 'layer"),
        (lambda folder: saelens_with(folder, {"normalize_activations": "expected_average_only_in"}), "only 'none' can"),
        (lambda folder: saelens_with(folder, {"architecture": "temporal"}), "is of architecture 'temporal'"),
        (lambda folder: saelens_with(folder, {"architecture": ["topk"]}), r"architecture is \['topk'\], expected str"),
        (lambda folder: saelens_with(folder, {"k": "3"}), "k is '3', expected int"),
        (lambda folder: saelens_with(folder, {"k": 99}), "is 99, expected 1 to 14"),
        (lambda folder: saelens_with(folder, b_enc=torch.zeros(3)), r"b_enc is \[3\], expected \[14\]"),
        (lambda folder: saelens_with(folder, b_enc=torch.zeros(N, dtype=torch.long)), r"b_enc is torch\.int64"),
        (lambda folder: saelens_with(folder, b_enc=torch.full((N,), torch.nan)), "not finite"),
        (lambda folder: saelens_with(folder, stranger=torch.zeros(3)), "'stranger'"),
        (lambda folder: folder, "holds no dictionary"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_path(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        load_dictionary(make(tmp_path / "layer_1"))
    assert str(tmp_path) in str(caught.value)


def test_files_that_are_cut_are_refused(tmp_path: Path) -> None:
    for name, (write, place, kinds) in WRITERS.items():
        where = write(dictionary(kinds[-1]), tmp_path / name / place)
        for path in [where] if where.is_file() else list(where.iterdir()):
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2])
            with pytest.raises(ArtifactError, match="cannot be read"):
                load_dictionary(where)
            path.write_bytes(data)


def test_a_dictionary_is_given_to_a_model(llama: Model, tmp_path: Path) -> None:
    folder = write_saelens(dictionary("relu"), tmp_path / "one")
    with pytest.raises(ArtifactError, match=r"reads states of 6 numbers, and those of .* have 32"):
        load_dictionary(folder, llama)
    assert load_dictionary(folder).origin.model_digest == "unknown"
    wide = SparseAutoencoder(ORIGIN, SITE, normal(32, N), normal(N), normal(N, 32), normal(32), torch.zeros(N))
    found = load_dictionary(write_saelens(wide, tmp_path / "wide"), llama)
    with llama.edited(found.clamp(2, 3.0)):
        llama.read(["text"], SITE)
