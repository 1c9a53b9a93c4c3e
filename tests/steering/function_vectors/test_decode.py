"""Vectors read through the vocabulary are what the model itself makes of a last state, and can be rebuilt from that."""

import torch

from steering.function_vectors.decode import likeliest, reconstruct, vocabulary_logits
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sites import Site


def test_a_last_state_reads_as_the_models_own_logits(model: Model) -> None:
    text = ["ab cd"]
    states = model.read(text, Site(model.n_layers - 1), positions=ALL).x(Site(model.n_layers - 1))
    read, own = vocabulary_logits(model, states), model.logits(text)[0]
    torch.testing.assert_close(read, own, atol=1e-4, rtol=1e-4)
    assert likeliest(model, states[0], 3).tolist() == own[0].topk(3).indices.tolist()


def test_a_rebuilt_vector_is_another_one_that_reads_the_same(llama: Model) -> None:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(3))
    goal = vocabulary_logits(llama, vector[None])[0].softmax(0)
    whole = reconstruct(llama, vector, steps=300, learning_rate=0.05)
    torch.testing.assert_close(vocabulary_logits(llama, whole[None])[0].softmax(0), goal, atol=1e-3, rtol=0)
    top = reconstruct(llama, vector, top=5, steps=300, learning_rate=0.05)
    kept = goal.topk(5).indices
    found = vocabulary_logits(llama, top[None])[0][kept].softmax(0)
    torch.testing.assert_close(found, goal[kept] / goal[kept].sum(), atol=1e-3, rtol=0)
    for rebuilt in (whole, top):
        torch.testing.assert_close(rebuilt.norm(), vector.norm())
    assert (top - vector).norm() > 0.1 * vector.norm()  # five tokens say less than 32 coordinates
    assert all(not weight.requires_grad or weight.grad is None for weight in llama.module.parameters())
