"""The losses on vectors: values, gradients and where these end; and pooling over layers."""

import math

import pytest
import torch

from steering.grace.losses import cohesion, distance, preference, relaxed_preference, separation
from steering.grace.pooling import LayerPooling, scales


def test_both_preferences_are_log_two_where_policy_and_reference_agree() -> None:
    margin = torch.tensor([-3.0, 0.0, 7.0])
    for loss, beta in ((relaxed_preference, 1.0), (preference, 0.1), (preference, 1.0)):
        torch.testing.assert_close(loss(margin, margin, beta), torch.full((3,), math.log(2)))
    assert float(relaxed_preference(margin, margin, 0.8)[2]) < math.log(2)  # a share of the reference's margin is free
    torch.testing.assert_close(
        preference(torch.tensor([2.0]), torch.tensor([1.0]), 0.1), -torch.sigmoid(torch.tensor([0.1])).log()
    )


def test_separation_pushes_safe_and_unsafe_apart_until_the_margin_is_met() -> None:
    safe, unsafe = torch.tensor([[0.0, 0.0]], requires_grad=True), torch.tensor([[1.0, 0.0]], requires_grad=True)
    far = torch.tensor([[0.0, 9.0]])
    loss = separation(safe, unsafe, far, 5.0)
    assert float(loss.detach()) == pytest.approx(2.0)  # (5 - 1) / 2, and nothing for the far one
    loss.sum().backward()
    assert safe.grad is not None
    assert unsafe.grad is not None
    assert safe.grad[0].tolist() == pytest.approx([0.5, 0])  # a step against it goes away from unsafe
    assert unsafe.grad[0].tolist() == pytest.approx([-0.5, 0])
    met = torch.tensor([[5.1, 0.0]], requires_grad=True)
    separation(safe, met, far, 5.0).sum().backward()
    assert met.grad is not None
    assert not bool(met.grad.any())


def test_cohesion_draws_together_until_they_are_near() -> None:
    unsafe, jailbreak = torch.tensor([[0.0, 0.0]], requires_grad=True), torch.tensor([[3.0, 0.0]])
    assert float(cohesion(unsafe.detach(), jailbreak, 1.0)) == pytest.approx(2.0)
    cohesion(unsafe, jailbreak, 1.0).sum().backward()
    assert unsafe.grad is not None
    assert unsafe.grad[0].tolist() == pytest.approx([-1, 0])  # a step against it goes towards the jailbreak
    assert float(cohesion(unsafe.detach(), jailbreak, 3.5)) == 0


def test_a_distance_of_zero_has_a_gradient_of_zero() -> None:
    a = torch.zeros(1, 3, requires_grad=True)
    distance(a, torch.zeros(1, 3)).sum().backward()
    assert a.grad is not None
    assert bool((a.grad == 0).all())


@pytest.mark.parametrize("heads", [1, 3])
def test_the_profile_finds_the_only_layer_that_separates(heads: int) -> None:
    generator, informative, n_layers, d = torch.Generator().manual_seed(0), 4, 7, 6
    h = torch.randn(3, 40, n_layers, d, generator=generator)  # role, item, layer, d
    h[1:, :, informative, 0] += 4
    pooling = LayerPooling(heads)
    leaves = {name: value.requires_grad_() for name, value in pooling.start(n_layers, d).items()}
    optimizer = torch.optim.Adam([leaves["profile"]], lr=0.05 / pooling.rate)
    for _ in range(200):
        optimizer.zero_grad()
        safe, unsafe, jailbreak = (pooling.pool(each, leaves) for each in h)
        (separation(safe, unsafe, jailbreak, 6.0) + cohesion(unsafe, jailbreak, 2.0)).mean().backward()
        optimizer.step()
    alpha = pooling.weights(leaves).detach().mean(0)
    assert int(alpha.argmax()) == informative
    assert float(alpha[informative]) > 0.5


def test_pooling_starts_as_the_mean_over_layers() -> None:
    h = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    for pooling in (LayerPooling(), LayerPooling(residual=True), LayerPooling(temperature=0.2)):
        torch.testing.assert_close(pooling.pool(h, pooling.start(4, 3)), h.mean(1))
    several = LayerPooling(heads=4)
    torch.testing.assert_close(several.pool(h, several.start(4, 3)), h.mean(1), atol=0.2, rtol=0)


def test_scales_are_mean_distances_to_the_centre() -> None:
    pooled = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]], [[0.0, 3.0]], [[0.0, -3.0]]])
    assert scales(pooled).tolist() == pytest.approx([2.0])
