from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from steering.methods.loreft import LoReFT, orthonormal, scaled_layers
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from tests.steering.adapting import concept_texts, positive, without_cache
from workbench.artifacts.adapter import Adapter
from workbench.data.items import DataError
from workbench.models.positions import Layout
from workbench.models.sampling import Sampling
from workbench.models.sites import Site

METHOD = LoReFT(recipe=TrainingConfig(epochs=3, batch_size=2, learning_rate=5e-3))
ASKED = ["why?", "how do waves come about", "a"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_layers_are_carried_to_their_depth() -> None:
    assert scaled_layers((5, 10, 15, 20), 26, 26) == (5, 10, 15, 20)
    assert scaled_layers((5, 10, 15, 20), 26, 30) == (5, 11, 17, 23)
    assert scaled_layers((5, 10, 15, 20), 26, 3) == (0, 1, 2)
    for bad in ((), (26,), (-1,)):
        with pytest.raises(ValueError, match="among 0 to 25"):
            scaled_layers(bad, 26, 30)


def test_rows_are_made_orthonormal_without_leaving_their_span() -> None:
    free = normal(2, 3, 8)
    rows = orthonormal(free)
    torch.testing.assert_close(rows @ rows.mT, torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(free @ rows.mT @ rows, free)
    torch.testing.assert_close(orthonormal(rows), rows)  # what is orthonormal already stays, signs included
    double = free.double().requires_grad_()
    assert torch.autograd.gradcheck(orthonormal, (double,))


def test_orthonormal_rows_do_not_jump_when_an_entry_crosses_0() -> None:
    free = normal(2, 6)
    below, above = (free.clone().index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(x)) for x in (-1e-4, 1e-4))
    assert (orthonormal(below) - orthonormal(above)).abs().max() < 1e-3


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
    for part in adapter.parts:
        rotation = part.arrays["rotation"]
        torch.testing.assert_close(rotation @ rotation.mT, torch.eye(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layers", [(0, 10, 20), (10, 20)])
def test_the_loss_in_training_is_the_loss_under_the_edit(llama: Any, layers: tuple[int, ...]) -> None:
    """At a learning rate of 0 the parameters stay at their start."""
    data = concept_texts(llama, concepts=1)[0]
    method = replace(METHOD, layers=layers, recipe=TrainingConfig(epochs=2, batch_size=3, learning_rate=0.0))
    losses = train(method.objective(data), [data])[0].losses
    tokens = llama.tokenize(*positive(data))
    with llama.edited(method.edit(method.fit(data), 1.0)):
        scored = llama.score(tokens)
    assert losses == pytest.approx([float(scored.nll.sum() / scored.n_tokens.sum())] * 2, abs=1e-5)


def test_one_concept_alone_equals_it_among_four(llama: Any) -> None:
    data = concept_texts(llama)
    among = METHOD.fit_all(data)
    for k in (0, 3):
        alone = METHOD.fit(data[k])
        assert alone.origin == among[k].origin
        for name, tensor in alone.tensors().items():
            torch.testing.assert_close(among[k].tensors()[name], tensor, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(among[0].tensors()["parts.0.weight"], among[1].tensors()["parts.0.weight"], atol=1e-3)


def test_the_edit_is_equation_2_at_the_first_and_last_five_prompt_tokens(llama: Any) -> None:
    adapter = METHOD.fit(concept_texts(llama, concepts=1)[0])
    edit, *_ = METHOD.edit(adapter, 1.0, "all")
    tokens = llama.tokenize(["a question of some length"], ["an answer"])
    layout = Layout.of(tokens, [0])
    h = normal(1, tokens.lengths[0], 32)
    moved = edit.apply(h, layout)
    (row,) = tokens
    touched = {*range(row.prefix, row.prefix + 5), *range(row.response - 5, row.response)}
    rotation, weight, bias = (adapter.parts[0].arrays[name] for name in ("rotation", "weight", "bias"))
    for at in range(len(row.ids)):
        if at in touched:
            change = rotation.T @ (weight @ h[0, at] + bias - rotation @ h[0, at])
            torch.testing.assert_close(moved[0, at], h[0, at] + change)
        else:
            assert torch.equal(moved[0, at], h[0, at])


def test_generation_with_the_cache_equals_generation_without(model: Any) -> None:
    adapter = METHOD.fit(concept_texts(model, concepts=1)[0])
    prompts = model.tokenize(ASKED, chat=True)
    edits = METHOD.edit(adapter, 1.0)
    with model.edited(edits):
        expected = without_cache(model, prompts, 6)
    for one, ids in zip(model.generate(prompts, edits=edits, sampling=Sampling(6)), expected, strict=True):
        assert one.ids == ids[: len(one.ids)]
        assert one.ended or len(one.ids) == 6


def test_strength_0_and_saved_and_loaded(llama: Any, tmp_path: Any) -> None:
    adapter = METHOD.fit(concept_texts(llama, concepts=1)[0])
    loaded = Adapter.load(adapter.save(tmp_path / "loreft.safetensors"))
    assert loaded.digest == adapter.digest
    tokens = llama.tokenize(ASKED, chat=True)
    plain = llama.logits(tokens)
    found = []
    for one in (adapter, loaded):
        with llama.edited(METHOD.edit(one, 1.0)):
            found.append(llama.logits(tokens))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(found[0], plain, strict=True))
    with llama.edited(METHOD.edit(adapter, 0.0)):
        assert all(torch.equal(a, b) for a, b in zip(llama.logits(tokens), plain, strict=True))


def test_without_the_live_model_or_with_a_rank_above_its_width_it_is_refused(llama: Any) -> None:
    data = concept_texts(llama, concepts=1)[0]
    with pytest.raises(DataError, match="needs the live model"):
        METHOD.fit(replace(data, through=None))
    with pytest.raises(ValueError, match="rank is 33; expected at most 32, the width of tiny-llama"):
        replace(METHOD, rank=33).fit(data)
    assert METHOD.objective(concept_texts(llama)[0]).sites == (Site(0), Site(1), Site(2))
