import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from steering.methods.sft import SFT
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from tests.steering.adapting import by_hand, concept_texts, positive, without_cache
from tests.tiny import tiny_tokenizer
from workbench.artifacts.adapter import Adapter
from workbench.data.items import DataError
from workbench.models.model import Model, wrap
from workbench.models.sampling import Sampling

METHOD = SFT(precision="float32", recipe=TrainingConfig(epochs=3, batch_size=3, learning_rate=1e-3))
ASKED = ["why?", "how do waves come about", "a"]


def tied() -> Model:
    """A Llama whose unembedding is its embedding, as the default model's is."""
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=300,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.LlamaForCausalLM(config).eval()
    return wrap(module, tiny_tokenizer(), "tied")


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "tied"])
def test_training_equals_a_loop_by_hand_and_leaves_the_model_alone(tiny: Callable[[str], Any], family: str) -> None:
    model = tied() if family == "tied" else tiny(family)
    data = concept_texts(model, concepts=1)[0]
    before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    adapter = replace(METHOD, recipe=replace(METHOD.recipe, budget=40)).fit(data)  # two rows or so at a time
    twin = copy.deepcopy(model.module)
    weights = list(twin.parameters())
    losses = by_hand(twin, weights, model.tokenize(*positive(data)), METHOD.recipe)
    start = {name: weight.detach().float() for name, weight in model.module.named_parameters()}
    assert train(METHOD.objective(data), [data])[0].losses == pytest.approx(losses, abs=1e-4)
    assert adapter.changes.keys() == start.keys()
    for name, weight in twin.named_parameters():
        moved = weight.detach() - before[name]
        error = (adapter.changes[name] - moved).abs()
        assert error.mean() < 0.01 * METHOD.recipe.learning_rate, name  # a gradient of 0 has no sign for Adam to take
    assert all(torch.equal(weight, before[name]) for name, weight in model.module.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in model.module.parameters())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_training_makes_the_positive_texts_likelier(tiny: Callable[[str], Any], family: str) -> None:
    model = tiny(family)
    data = concept_texts(model, concepts=1)[0]
    adapter = replace(METHOD, precision="bfloat16").fit(data)
    tokens = model.tokenize(*positive(data))
    plain = model.score(tokens)
    with METHOD.applied(adapter, model):
        steered = model.score(tokens)
    assert steered.nll.sum() / steered.n_tokens.sum() < plain.nll.sum() / plain.n_tokens.sum() - 0.05


def test_saved_and_loaded_strength_0_and_the_cache(llama: Any, tmp_path: Any) -> None:
    adapter = replace(METHOD, precision="bfloat16").fit(concept_texts(llama, concepts=1)[0])
    loaded = Adapter.load(adapter.save(tmp_path / "sft.safetensors"))
    assert loaded.digest == adapter.digest
    assert {change.dtype for change in loaded.changes.values()} == {torch.bfloat16}
    prompts = llama.tokenize(ASKED, chat=True)
    plain, found = llama.logits(prompts), []
    for one in (adapter, loaded):
        with METHOD.applied(one, llama):
            found.append(llama.logits(prompts))
            generated = llama.generate(prompts, sampling=Sampling(6))
            expected = without_cache(llama, prompts, 6)
    assert same(*found)
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(found[0], plain, strict=True))
    assert all(one.ids == ids[: len(one.ids)] for one, ids in zip(generated, expected, strict=True))
    assert same(llama.logits(prompts), plain)
    with METHOD.applied(adapter, llama, 0.0):
        assert same(llama.logits(prompts), plain)


def test_only_the_chosen_weights_are_trained(llama: Any) -> None:
    data = concept_texts(llama, concepts=1)[0]
    adapter = replace(METHOD, weights=r"layers\.1\.mlp").fit(data)
    assert sorted(adapter.changes) == [f"model.layers.1.mlp.{name}_proj.weight" for name in ("down", "gate", "up")]
    assert all(change.abs().max() > 0 for change in adapter.changes.values())
    with pytest.raises(ValueError, match="no weight of tiny-llama has a name in which 'nowhere' is found"):
        replace(METHOD, weights="nowhere").fit(data)


def test_a_concept_alone_equals_it_among_others_and_needs_the_model(llama: Any) -> None:
    data = concept_texts(llama, concepts=2)
    among = METHOD.fit_all(data)
    assert METHOD.fit(data[1]).digest == among[1].digest
    assert among[0].digest != among[1].digest
    with pytest.raises(DataError, match="needs the live model"):
        METHOD.fit(replace(data[0], through=None))


def test_in_bfloat16_the_training_is_done_in_float32(llama: Any) -> None:
    """Steps too small for a bfloat16 weight are not lost while they add up."""
    module = copy.deepcopy(llama.module).bfloat16()
    model = wrap(module, llama.tokenizer, "half")
    data = concept_texts(model, concepts=1)[0]
    adapter = replace(METHOD, recipe=TrainingConfig(epochs=2, batch_size=3, learning_rate=1e-6)).fit(data)
    change = adapter.changes["model.layers.1.mlp.up_proj.weight"]
    assert change.dtype == torch.float32
    assert 1e-7 < float(change.abs().mean()) < 1e-5
    assert {weight.dtype for weight in model.module.parameters()} == {torch.bfloat16}


def test_blocks_that_run_again_on_the_way_back_change_no_bit(tiny: Callable[[str], Any]) -> None:
    data = concept_texts(tiny("llama"), concepts=1)[0]
    assert data.through is not None
    again = replace(data, through=replace(data.through, gradient_checkpointing=True))
    plain, found = (METHOD.fit(one).changes for one in (data, again))
    assert same([*found.values()], [*plain.values()])
    assert found["model.layers.0.mlp.up_proj.weight"].any()
