"""ITI finds the heads that carry a planted difference, and writes into these alone."""

from dataclasses import replace

import pytest
import torch

import workbench as wb
from steering.methods.iti import ITI
from tests.planted import planted, through
from workbench.data.items import DataError
from workbench.data.labelled import Labelled

HEADS, D_HEAD = 4, 8
PLANTED = {(1, 2): 0.5, (2, 0): 3.0}
"""Layer and head to how far the positives lie from the negatives, in standard deviations of the noise."""
AXIS = torch.nn.functional.normalize(torch.arange(1.0, D_HEAD + 1), dim=0)


def there(n: int = 200, *, held_out: bool = True, seed: int = 0) -> dict[wb.Site, Labelled]:
    """A state a text at each layer's z; noise with the standard deviation 2, and the planted differences."""
    generator, y = torch.Generator().manual_seed(seed), torch.arange(n) % 2 == 0
    found = {}
    for layer in range(3):
        z = 2 * torch.randn(n, HEADS, D_HEAD, generator=generator)
        for (at, head), shift in PLANTED.items():
            if at == layer:
                z[:, head] += 2 * shift * y[:, None] * AXIS
        site = wb.Site(layer, "z")
        held = there(100, held_out=False, seed=seed + 1)[site] if held_out else None
        found[site] = replace(
            planted(), x=z.reshape(n, -1), y=y, row=torch.arange(n), site=site, items=(), relations=(), held_out=held
        )
    return found


@pytest.mark.parametrize("direction", ["mass_mean", "probe"])
def test_the_planted_head_is_found_with_its_direction_and_scale(direction: str) -> None:
    method = ITI(heads=1, direction="probe" if direction == "probe" else "mass_mean")
    vectors = method.fit_there(planted(), there())
    assert vectors.sites == (wb.Site(2, "z").head(0),)
    (vector,) = vectors.vectors
    assert float(torch.nn.functional.normalize(vector.direction, dim=0) @ AXIS) > 0.95
    sigma = (4 + 9) ** 0.5  # the noise's variance, and that of a difference of 6 between halves
    assert float(vector.direction.norm()) == pytest.approx(sigma, rel=0.06)
    assert vector.unit == 15


def test_heads_are_ranked_by_held_out_accuracy() -> None:
    method, data = ITI(), there()
    ranked = sorted(method.probed(planted(), data), key=lambda one: -one.accuracy)
    assert [(one.layer, one.head) for one in ranked[:2]] == [(2, 0), (1, 2)]
    assert ranked[0].accuracy > 0.85 > ranked[1].accuracy > 0.5
    # Training accuracy tells another story where there are as many numbers as texts: the choice must not see it.
    few = there(16)
    overfit = ITI(C=1e4).probed(planted(), few)
    assert max(overfit, key=lambda one: one.accuracy).layer == 2
    with pytest.raises(DataError, match="ITI of 'planted' chooses heads on held-out texts, and there are none"):
        method.probed(planted(), there(held_out=False))


def test_the_chosen_heads_are_shifted_before_the_output_projection_and_no_others() -> None:
    model, method = through().model, ITI(heads=3)
    vectors = method.fit(planted()).adopt(model.name, model.digest)
    chosen = {(one.site.layer, head) for one in vectors.vectors if one.site.part for head in one.site.part.numbers}
    assert len(chosen) == 3
    lowest = min(layer for layer, _ in chosen)
    site, tokens = wb.Site(lowest, "z"), model.tokenize(["the sea"])
    with model.edited(method.edit(vectors, 0.5)):
        edited = model.read(tokens, site).x(site)
    moved = (edited - model.read(tokens, site).x(site)).reshape(-1, HEADS, D_HEAD)
    shift = vectors.vectors[0].direction.reshape(-1, D_HEAD) * 7.5
    order = vectors.vectors[0].site.part
    assert order is not None
    expected = torch.zeros(HEADS, D_HEAD).index_copy(0, torch.tensor(order.numbers), shift)
    torch.testing.assert_close(moved, expected.expand_as(moved), atol=1e-4, rtol=1e-4)
