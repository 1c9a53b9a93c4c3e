import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny import tiny_module
from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.artifacts.artifact import Artifact, ArtifactError, Origin
from workbench.artifacts.peft_files import CONFIG, WEIGHTS, read_peft, write_peft
from workbench.models.low_rank_edits import LowRank, LowRankMap
from workbench.models.positions import Positions
from workbench.models.sites import Site

TEXTS = ["hello world", "a", "a text much longer than its neighbours"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def origin(model: Any) -> Origin:
    return Origin("Test", "{}", "sea", model.name, model.digest, "none")


def lora(model: Any, streams: tuple[str, ...] = ("z",), rank: int = 3) -> Adapter:

    parts = []
    for number, site in enumerate(Site(layer, stream) for layer in (0, 2) for stream in streams):
        linear = model.backend.linear_map(site)
        arrays = {
            "down": normal(rank, linear.d_in, seed=number),
            "up": 0.1 * normal(rank, linear.d_out, seed=number + 50),
        }
        parts.append(AdapterPart("low_rank_map", site, arrays))
    return Adapter(origin(model), tuple(parts), unit=0.7)


def both(model: Any) -> Adapter:
    """An edit of each kind and a changed weight."""
    rotation = torch.linalg.qr(normal(32, 2))[0].mT.contiguous()
    first = AdapterPart("low_rank", Site(1), {"rotation": rotation, "weight": normal(2, 32), "bias": normal(2)})
    name = next(iter(dict(model.module.named_parameters())))
    change = {name: 0.1 * normal(*model.module.get_parameter(name).shape)}
    return Adapter(origin(model), (first, *lora(model).parts), Positions("prompt[:5]"), 2.0, change)


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_file_keeps_everything(llama: Any, tmp_path: Path) -> None:
    adapter = both(llama)
    loaded = Artifact.load(adapter.save(tmp_path / "adapter.safetensors"))
    assert isinstance(loaded, Adapter)
    assert (loaded.digest, loaded.origin, loaded.positions) == (adapter.digest, adapter.origin, adapter.positions)
    with loaded.applied(llama), llama.edited(loaded.edits()):
        found = llama.logits(TEXTS)
    with adapter.applied(llama), llama.edited(adapter.edits()):
        assert same(llama.logits(TEXTS), found)


def test_edits_have_the_parts_kinds_sites_strength_and_positions(llama: Any) -> None:
    first, second, third = both(llama).edits(0.5)
    assert isinstance(first, LowRank)
    assert isinstance(second, LowRankMap)
    assert [edit.site for edit in (first, second, third)] == [Site(1), Site(0, "z"), Site(2, "z")]
    assert {edit.strength for edit in (first, second, third)} == {1.0}
    assert first.positions == Positions("prompt[:5]")
    assert both(llama).edits(1, "response")[0].positions == Positions("response")


def test_another_model_is_refused_unless_it_is_adopted(llama: Any, tiny: Callable[[str], Any]) -> None:
    adapter, other = lora(llama), tiny("gemma3")
    with pytest.raises(ValueError, match="fit on another model"), other.edited(adapter.edits()):
        pytest.fail("the body must not run")
    with pytest.raises(ArtifactError, match="trained on tiny-llama, not on tiny-gemma3"), adapter.applied(other):
        pytest.fail("the body must not run")
    with other.edited(adapter.adopt(other.name, other.digest).edits()):
        other.logits(TEXTS)


def test_what_cannot_be_an_adapter_is_refused(llama: Any) -> None:
    with pytest.raises(ArtifactError, match="changes nothing"):
        Adapter(origin(llama))
    part = AdapterPart("low_rank_map", Site(0, "z"), {"down": normal(1, 4), "up": torch.full((1, 4), torch.nan)})
    with pytest.raises(ArtifactError, match=r"parts\.0\.up .*'sea' has values that are not finite"):
        Adapter(origin(llama), (part,))
    with pytest.raises(ArtifactError, match="no edits of kind 'other'"):
        AdapterPart("other", Site(0), {})


@pytest.mark.parametrize("error", [None, RuntimeError("inside"), KeyboardInterrupt()])
def test_changed_weights_are_back_bit_for_bit(llama: Any, error: BaseException | None) -> None:
    before = {name: weight.clone() for name, weight in llama.module.state_dict().items()}
    places = {name: weight.data_ptr() for name, weight in llama.module.named_parameters()}
    plain, adapter = llama.logits(TEXTS), both(llama)
    ((name, change),) = adapter.changes.items()
    with pytest.raises(type(error)) if error else nullcontext(), adapter.applied(llama, 0.5):
        torch.testing.assert_close(llama.module.get_parameter(name).data, before[name] + 0.5 * change)
        assert not torch.allclose(llama.logits(TEXTS)[0], plain[0], atol=1e-3)
        if error:
            raise error
    assert all(torch.equal(weight, before[name]) for name, weight in llama.module.state_dict().items())
    assert {name: weight.data_ptr() for name, weight in llama.module.named_parameters()} == places
    assert same(llama.logits(TEXTS), plain)
    with adapter.applied(llama, 0.0):
        assert same(llama.logits(TEXTS), plain)


@pytest.mark.parametrize("changes", [{"absent": torch.ones(2)}, {"lm_head.weight": torch.ones(2)}])
def test_a_weight_that_the_model_does_not_have_is_refused(llama: Any, changes: dict[str, Tensor]) -> None:
    adapter = Adapter(origin(llama), changes=changes)
    with pytest.raises(ArtifactError, match=r"tiny-llama has no weight .* of shape \(2,\)"), adapter.applied(llama):
        pytest.fail("the body must not run")


STREAMS = {
    "llama": ("z", "attn.q.hook_in", "mlp.out.hook_in"),
    "gpt2": ("z", "mlp.in.hook_in"),
    "gemma3": ("z", "attn.v.hook_in"),
}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # in peft, not here
@pytest.mark.parametrize(("family", "streams"), STREAMS.items())
def test_peft_gives_the_same_logits(
    tiny: Callable[[str], Any], family: Any, streams: tuple[str, ...], tmp_path: Path, seeded: None
) -> None:
    import peft

    model = tiny(family)
    adapter = lora(model, streams)
    theirs = peft.PeftModel.from_pretrained(tiny_module(family), str(write_peft(adapter, model, tmp_path / "peft")))
    with model.edited(adapter.edits()):
        ours = model.logits(TEXTS)
    plain = model.logits(TEXTS)
    for row, found, without in zip(model.tokenize(TEXTS), ours, plain, strict=True):
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([row.ids])).logits[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert (found - without).abs().max() > 0.01


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # in peft, not here
@pytest.mark.parametrize("rslora", [False, True])
def test_a_folder_that_peft_wrote_is_read(llama: Any, tmp_path: Path, rslora: bool, seeded: None) -> None:
    import peft

    config = peft.LoraConfig(
        r=2, lora_alpha=6, use_rslora=rslora, target_modules=["o_proj", "up_proj"], init_lora_weights=False
    )
    theirs = peft.get_peft_model(tiny_module("llama"), config).eval()
    theirs.save_pretrained(str(tmp_path))
    adapter = read_peft(tmp_path, llama, "sea")
    assert [part.site for part in adapter.parts] == [Site(k, s) for k in range(3) for s in ("mlp.in.hook_in", "z")]
    with llama.edited(adapter.edits()):
        ours = llama.logits(TEXTS)
    for row, found in zip(llama.tokenize(TEXTS), ours, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(found, theirs(torch.tensor([row.ids])).logits[0], atol=1e-5, rtol=1e-5)


INITS = [True, False, "gaussian", "orthogonal", "mica"]


def peft_folder(folder: Path, init: Any, **options: Any) -> Any:
    """An adapter that peft started in one way, that was then moved as training would, as a folder; and peft's model."""
    import peft

    targets: list[str] = ["o_proj", "up_proj"]
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=init, task_type="CAUSAL_LM")
    theirs: Any = peft.get_peft_model(tiny_module("llama"), config).eval()
    theirs.peft_config["default"].init_lora_weights = True
    theirs.save_pretrained(str(folder / "start"))
    theirs.peft_config["default"].init_lora_weights = init
    with torch.no_grad():
        for number, (name, weight) in enumerate(theirs.named_parameters()):
            if "lora_" in name:
                weight += 0.1 * normal(*weight.shape, seed=number)
    theirs.save_pretrained(str(folder / "adapter"), **options)
    return theirs


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # in peft, not here
@pytest.mark.parametrize("init", INITS)
def test_however_a_plain_adapter_began_peft_has_the_same_logits(
    llama: Any, tmp_path: Path, init: Any, seeded: None
) -> None:
    import peft

    peft_folder(tmp_path, init)
    assert_equals_peft(llama, tmp_path / "adapter", peft.PeftModel)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # in peft, not here
@pytest.mark.filterwarnings("ignore:.*changes the base weights:UserWarning")
@pytest.mark.parametrize("init", ["pissa", "pissa_niter_2", "olora"])
def test_an_adapter_that_changes_the_base_weights_is_refused_until_it_is_converted(
    llama: Any, tmp_path: Path, init: str, seeded: None
) -> None:
    import peft

    peft_folder(tmp_path, init)
    message = f"has init_lora_weights '{init}'; .* path_initial_model_for_weight_conversion"
    with pytest.raises(ArtifactError, match=message):
        read_peft(tmp_path / "adapter", llama, "sea")
    peft_folder(tmp_path, init, path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    assert_equals_peft(llama, tmp_path / "adapter", peft.PeftModel)


def assert_equals_peft(model: Any, folder: Path, loader: Any) -> None:
    theirs = loader.from_pretrained(tiny_module("llama"), str(folder))
    plain = model.logits(TEXTS)
    with model.edited(read_peft(folder, model, "sea").edits()):
        ours = model.logits(TEXTS)
    for row, found, without in zip(model.tokenize(TEXTS), ours, plain, strict=True):
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([row.ids])).logits[0]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert (found - without).abs().max() > 0.01


def test_every_option_of_peft_is_known_or_refused(llama: Any, tmp_path: Path) -> None:
    """What peft writes today is read; each of its options that is on, and one that it has not yet, is refused."""
    from peft import LoraConfig

    folder = write_peft(lora(llama), llama, tmp_path)
    config = json.loads((folder / CONFIG).read_text())
    today = json.loads(json.dumps(LoraConfig().to_dict(), default=list)) | config
    (folder / CONFIG).write_text(json.dumps(today))
    read_peft(folder, llama, "sea")
    weights = {"init_lora_weights", "bias", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern", "use_dora"}
    tokens = {"trainable_token_indices", "alora_invocation_tokens", "target_parameters", "layer_replication"}
    variants = {"use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config"}
    for name in sorted(weights | tokens | variants | {"an_option_of_tomorrow"}):
        (folder / CONFIG).write_text(json.dumps(today | {name: [50, 51]}))
        with pytest.raises(ArtifactError, match=rf"has {name} \[50, 51\]; "):
            read_peft(folder, llama, "sea")


def test_written_and_read_again_it_is_the_same(model: Any, tmp_path: Path) -> None:
    adapter = lora(model, rank=4)
    read = read_peft(write_peft(adapter, model, tmp_path), model, "sea")
    assert read.tensors().keys() == adapter.tensors().keys()
    assert all(torch.equal(tensor, adapter.tensors()[name]) for name, tensor in read.tensors().items())
    assert read.unit == pytest.approx(adapter.unit)
    assert [part.site for part in read.parts] == [part.site for part in adapter.parts]


def test_what_peft_cannot_hold_is_not_written(llama: Any, tmp_path: Path) -> None:
    mixed = Adapter(origin(llama), (*lora(llama).parts, *lora(llama, ("mlp.in.hook_in",), rank=2).parts))
    for bad in (both(llama), mixed, replace(lora(llama), positions=Positions("prompt"))):
        with pytest.raises(ArtifactError, match="'sea' cannot be written for peft"):
            write_peft(bad, llama, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"use_dora": True}, "use_dora True"),
        ({"alpha_pattern": {"o_proj": 3}}, "alpha_pattern"),
        ({"bias": "all"}, "bias 'all'"),
        ({"r": 7}, "rank 7"),
        ({"r": 0}, "'r': 0, 'lora_alpha'.*; expected a rank of at least 1"),
        ({"r": True}, "'r': True"),
        ({"lora_alpha": "8"}, "'lora_alpha': '8'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights 'loftq'; .* merge_and_unload"),
        ({"init_lora_weights": "corda"}, "init_lora_weights 'corda'"),
        ({"alora_invocation_tokens": [50, 51]}, r"alora_invocation_tokens \[50, 51\]; only plain LoRA"),
        ({"base": True}, "belongs to no linear map in the blocks of tiny-llama"),
        ({"half": True}, "expected lora_A and lora_B of .*, got"),
        ({"cut": True}, "cannot be read as a peft adapter"),
    ],
)
def test_a_folder_that_is_more_than_plain_lora_is_refused(
    llama: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = write_peft(lora(llama), llama, tmp_path)
    tensors = load_file(folder / WEIGHTS)
    first = next(iter(sorted(tensors)))
    if "base" in change:
        save_file({"base_model.model.lm_head.lora_A.weight": tensors[first]}, folder / WEIGHTS)
    elif "half" in change:
        save_file({name: tensor for name, tensor in tensors.items() if name != first}, folder / WEIGHTS)
    elif "cut" in change:
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])
    else:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(ArtifactError, match=message):
        read_peft(folder, llama, "sea")


def test_an_absent_folder_is_refused_by_name(llama: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="absent cannot be read as a peft adapter"):
        read_peft(tmp_path / "absent", llama, "sea")
