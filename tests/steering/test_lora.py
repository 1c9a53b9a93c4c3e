from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steering.methods.lora import LoRA, MapObjective
from steering.training.objective import Batch, TrainingConfig
from steering.training.trainer import train
from tests.steering.adapting import by_hand, concept_texts, positive, without_cache
from tests.tiny import tiny_module
from workbench.artifacts.adapter import Adapter
from workbench.data.labelled import ModelAccess
from workbench.models.edits import Add
from workbench.models.low_rank_edits import LowRankMap
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.stacking import per_row

METHOD = LoRA(recipe=TrainingConfig(epochs=3, batch_size=2, learning_rate=5e-3))
ASKED = ["why?", "how do waves come about", "a"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def added(model: Any, **given: Any) -> LowRankMap:
    return LowRankMap(site=Site(1, "z"), down=normal(2, 32), up=normal(2, 32, seed=1), **given)


@pytest.mark.parametrize("stream", ["z", "mlp.in.hook_in"])
def test_the_edit_equals_a_map_whose_weight_was_changed(model: Any, stream: str) -> None:
    site = Site(1, stream)
    linear = model.backend.linear_map(site)
    down, up = normal(2, linear.d_in), normal(2, linear.d_out, seed=1)
    with model.edited(LowRankMap(site=site, down=down, up=up, strength=0.3)):
        found = model.logits(ASKED)
    map_ = model.module.get_submodule(linear.name)
    kept = map_.weight.data
    change = 0.3 * down.T @ up  # [d_in, d_out], as GPT-2 keeps its maps
    map_.weight.data = kept + (change.T if isinstance(map_, torch.nn.Linear) else change)
    expected = model.logits(ASKED)
    map_.weight.data = kept
    for one, other, plain in zip(found, expected, model.logits(ASKED), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
        assert (one - plain).abs().max() > 0.01


def test_the_input_is_seen_after_what_was_done_to_it(llama: Any) -> None:
    """An edit of z comes first, whether it was entered before or after."""
    shift, lora = Add(site=Site(1, "z"), direction=normal(32, seed=2)), added(llama)
    with llama.edited([shift, lora]):
        one = llama.logits(ASKED)
    with llama.edited([lora, shift]):
        other = llama.logits(ASKED)
    map_ = llama.module.get_submodule(llama.backend.linear_map(Site(1, "z")).name)
    kept = map_.weight.data
    map_.weight.data = kept + (normal(2, 32).T @ normal(2, 32, seed=1)).T
    with llama.edited(shift):
        expected = llama.logits(ASKED)
    map_.weight.data = kept
    assert same(one, other)
    for found, wanted in zip(one, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


def test_rows_differ_in_their_maps_and_a_row_without_one_is_bit_equal(model: Any) -> None:
    edits = [[added(model)], [], [added(model, strength=-0.5)]]
    plain = model.logits(ASKED)
    with model.edited(per_row(edits)):
        mixed = model.logits(ASKED)
    for row, mine in enumerate(edits):
        with model.edited(mine):
            alone = model.logits([ASKED[row]])[0]
        torch.testing.assert_close(mixed[row], alone, atol=2e-5, rtol=1e-5)
        assert torch.equal(mixed[row], plain[row]) == (not mine)


def test_a_site_that_no_linear_map_reads_is_refused_and_leaves_no_hook(llama: Any, hook_count: Any) -> None:
    count = hook_count(llama.module)
    with (
        pytest.raises(ValueError, match="no linear map reads"),
        llama.edited([added(llama), replace(added(llama), site=Site(1))]),
    ):
        pytest.fail("the body must not run")
    assert hook_count(llama.module) == count
    with pytest.raises(ValueError, match=r"no linear map reads blocks\.0\.hook_resid_pre"):
        replace(METHOD, stream="resid_pre").fit(concept_texts(llama, concepts=1)[0])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_training_makes_the_positive_texts_likelier(tiny: Callable[[str], Any], family: str) -> None:
    model = tiny(family)
    data = concept_texts(model, concepts=1)[0]
    method = replace(METHOD, recipe=TrainingConfig(epochs=12, batch_size=3, learning_rate=5e-3))
    adapter = method.fit(data)
    tokens = model.tokenize(*positive(data))
    plain = model.score(tokens)
    with model.edited(method.edit(adapter, 1.0)):
        steered = model.score(tokens)
    assert steered.nll.sum() / steered.n_tokens.sum() < plain.nll.sum() / plain.n_tokens.sum() - 0.05


def test_one_concept_alone_equals_it_among_four(llama: Any) -> None:
    data = concept_texts(llama)
    among = METHOD.fit_all(data)
    for k in (0, 3):
        alone = METHOD.fit(data[k])
        assert alone.origin == among[k].origin
        for name, tensor in alone.tensors().items():
            torch.testing.assert_close(among[k].tensors()[name], tensor, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(among[0].tensors()["parts.0.up"], among[1].tensors()["parts.0.up"], atol=1e-3)


def test_a_training_that_is_interrupted_ends_the_same(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, hooks = concept_texts(llama, concepts=1)[0], MapObjective.hooks
    kept = replace(data, through=ModelAccess(llama, tmp_path))

    def interrupted(self: MapObjective, batch: Batch, *given: Any) -> Any:
        if bool((batch.progress > 0.5).any()):
            raise KeyboardInterrupt
        return hooks(self, batch, *given)

    monkeypatch.setattr(MapObjective, "hooks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        METHOD.fit(kept)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert METHOD.fit(kept).digest == METHOD.fit(data).digest


def test_dropout_counts_is_drawn_anew_and_follows_the_seed(llama: Any) -> None:
    data = concept_texts(llama, concepts=1)[0]
    one, again = METHOD.fit(data), METHOD.fit(data)
    without = replace(METHOD, dropout=0.0).fit(data)
    seeded = replace(METHOD, recipe=replace(METHOD.recipe, seed=1)).fit(data)
    assert one.digest == again.digest
    for other in (without, seeded):
        assert not torch.equal(one.tensors()["parts.0.up"], other.tensors()["parts.0.up"])


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # in peft, not here
@pytest.mark.parametrize("layers", [(5, 10, 15, 20), (10, 20)], ids=["from the first block", "from stored states"])
def test_training_equals_pefts(llama: Any, seeded: None, layers: tuple[int, ...]) -> None:
    """Three steps on all texts at once, from the same start, with the same optimiser and falling learning rate."""
    import peft

    data = concept_texts(llama, concepts=1)[0]
    recipe = TrainingConfig(epochs=3, batch_size=3, learning_rate=5e-3)
    method = replace(METHOD, dropout=0.0, layers=layers, recipe=recipe)
    objective = method.objective(data)
    trained = train(objective, [data])[0]
    paths = [llama.backend.architecture.place(site).path for site in objective.sites]
    config = peft.LoraConfig(
        r=4, lora_alpha=32, use_rslora=True, lora_dropout=0.0, target_modules=paths, task_type="CAUSAL_LM"
    )
    theirs: Any = peft.get_peft_model(tiny_module("llama"), config)
    weights: list[Any] = []
    for k, path in enumerate(paths):
        layer = theirs.base_model.model.get_submodule(path)
        weights += [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
        weights[-2].data = objective.start(data)[f"down.{k}"].clone()
    losses = by_hand(theirs, weights, llama.tokenize(*positive(data)), recipe)
    assert trained.losses == pytest.approx(losses, abs=1e-5)
    for k in range(len(paths)):
        torch.testing.assert_close(trained.parameters[f"down.{k}"], weights[2 * k].detach(), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(trained.parameters[f"up.{k}"], weights[2 * k + 1].detach().mT, atol=1e-4, rtol=1e-3)


def test_strength_0_and_saved_and_loaded_and_linear_in_strength(llama: Any, tmp_path: Path) -> None:
    adapter = METHOD.fit(concept_texts(llama, concepts=1)[0])
    loaded = Adapter.load(adapter.save(tmp_path / "lora.safetensors"))
    assert loaded.digest == adapter.digest
    plain, found = llama.logits(ASKED), []
    for one in (adapter, loaded):
        with llama.edited(METHOD.edit(one, 1.0)):
            found.append(llama.logits(ASKED))
    assert same(*found)
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(found[0], plain, strict=True))
    with llama.edited(METHOD.edit(adapter, 0.0)):
        assert same(llama.logits(ASKED), plain)
    once, twice = (METHOD.edit(adapter, strength)[0].strength for strength in (1.0, 2.0))
    assert twice == 2 * once == pytest.approx(2 * 16)


def test_generation_with_the_cache_equals_generation_without_in_mixed_rows(model: Any) -> None:
    adapter = METHOD.fit(concept_texts(model, concepts=1)[0])
    prompts = model.tokenize(ASKED, chat=True)
    edits = per_row([METHOD.edit(adapter, 1.0, text) for text in ("all", "response", "prompt[-1]")])
    with model.edited(edits):
        expected = without_cache(model, prompts, 6)
    for one, ids in zip(model.generate(prompts, edits=edits, sampling=Sampling(6)), expected, strict=True):
        assert one.ids == ids[: len(one.ids)]
        assert one.ended or len(one.ids) == 6
