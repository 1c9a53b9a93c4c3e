from dataclasses import replace

import pytest
import torch

from probes.methods.linear import LinearProbe
from probes.solvers.paths import logistic_path
from tests.planted import concept_set, planted
from workbench.data.labelled import Labelled


def noisy(few: int = 5, seed: int = 0) -> Labelled:
    """A weak concept, and held-out tokens of which only `few` have it."""
    data = planted(seed, shift=0.7)
    assert data.held_out is not None
    kept = torch.cat([data.held_out.y.nonzero()[:few, 0], (~data.held_out.y).nonzero()[:, 0]])
    held = replace(data.held_out, x=data.held_out.x[kept], y=data.held_out.y[kept], row=data.held_out.row[kept])
    return replace(data, held_out=held)


def test_C_is_that_of_the_lowest_held_out_loss_with_both_classes_counting_the_same() -> None:
    grid, differ = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), 0
    for seed in range(6):
        data = noisy(seed=seed)
        assert data.held_out is not None
        y, label = data.y.float()[:, None], data.held_out.y
        fits = logistic_path(data.x, y, torch.ones_like(y), grid)
        logits = torch.stack([data.held_out.x @ fit.weight[:, 0] + fit.intercept for fit in fits])  # [C, token]
        target = label.float().expand_as(logits)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        best = int((loss[:, label].mean(1) + loss[:, ~label].mean(1)).argmin())
        differ += best != int(loss.mean(1).argmin())
        expected = fits[best].weight[:, 0] / fits[best].weight[:, 0].norm()
        torch.testing.assert_close(LinearProbe(grid=grid[::-1]).fit(data).direction, expected)
    assert differ > 0  # else counting tokens alike would pass


def test_without_held_out_data_C_is_the_one_at_half_the_grid() -> None:
    data = planted(held_out=False)
    y = data.y.float()[:, None]
    weight = logistic_path(data.x, y, torch.ones_like(y), (1e-2,))[0].weight[:, 0]
    torch.testing.assert_close(LinearProbe().fit(data).direction, weight / weight.norm())


@pytest.mark.parametrize("concept", [0, 1, 2])
def test_a_concept_among_others_equals_the_concept_alone(concept: int) -> None:
    data = concept_set()
    together, alone = LinearProbe().fit_all(data)[concept], LinearProbe().fit(data[concept])
    torch.testing.assert_close(together.direction, alone.direction, atol=2e-3, rtol=0)
    assert together.bias == pytest.approx(alone.bias, abs=1e-2)
