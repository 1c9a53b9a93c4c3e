"""Angular Steering: the plane of planted candidates, turns in it by hand, a model in which every norm is turned."""

from dataclasses import replace
from math import radians

import pytest
import torch

import workbench as wb
from steering.methods.angular import AngularSteering, candidate, steering_plane
from tests.planted import planted, through
from workbench.data.items import DataError
from workbench.models.nonlinear_edits import RotateWithin
from workbench.models.positions import Layout
from workbench.models.tokens import Row, Tokens

PLANE = torch.eye(3)[:2]
PROMPTS = ["What is the sea?", "Why?"]


def turned(state: list[float], degrees: float, strength: float = 1.0, *, adaptive: bool = False) -> list[float]:
    edit = RotateWithin(
        site=wb.Site(0), plane=PLANE, angle=radians(degrees), strength=float(strength), adaptive=adaptive
    )
    return edit.apply(torch.tensor([[state]]), Layout.of(Tokens((Row((1,)),)), [0]))[0, 0].tolist()


@pytest.mark.parametrize(
    ("degrees", "strength", "expected"),
    [
        (0, 1, [5, 0, 7]),
        (90, 1, [0, 5, 7]),
        (180, 1, [-5, 0, 7]),
        (0, 3, [5, 0, 7]),  # it stops there
        (0, 0.5, [5 * 2 / 5**0.5, 5 / 5**0.5, 7]),  # half of the angle with tangent 4 / 3 has tangent 1 / 2
        (0, -1, [-1.4, 4.8, 7]),  # twice that angle
        (0, -50, [-5, 0, 7]),
        (300, 1, [2.5, -5 * 0.75**0.5, 7]),
        (300, -0.0, [3, 4, 7]),
    ],
)
def test_the_part_in_the_plane_comes_to_the_angle(degrees: float, strength: float, expected: list[float]) -> None:
    assert turned([3.0, 4.0, 7.0], degrees, strength) == pytest.approx(expected, abs=1e-6)


def test_the_shorter_way_round_is_taken() -> None:
    # from 170 degrees half of the way to 190 is at 180
    start = [torch.tensor(radians(170.0)).cos().item(), torch.tensor(radians(170.0)).sin().item(), 0.0]
    assert turned(start, 190.0, 0.5) == pytest.approx([-1, 0, 0], abs=1e-6)


def test_the_adaptive_form_leaves_states_against_the_direction() -> None:
    assert turned([3.0, 4.0, 7.0], 180, adaptive=True) == pytest.approx([-5, 0, 7], abs=1e-6)
    assert turned([-3.0, 4.0, 7.0], 180, adaptive=True) == [-3.0, 4.0, 7.0]
    assert turned([0.0, 4.0, 7.0], 180, adaptive=True) == [0.0, 4.0, 7.0]


def test_the_plane_is_of_the_most_typical_candidate_and_what_varies() -> None:
    candidates = torch.tensor([[2.0, 1.0, 0.0], [2.0, 0.0, 0.0], [2.0, -1.0, 0.0]]).double()
    torch.testing.assert_close(steering_plane(candidates, "sea"), PLANE.double())
    slanted = torch.tensor([[3.0, 1.0, 0.0], [2.0, 0.0, 0.0], [1.0, -1.0, 0.0]]).double()  # varies along (1, 1, 0)
    plane = steering_plane(slanted, "sea")
    torch.testing.assert_close(plane @ plane.T, torch.eye(2).double())
    assert float(plane[:, 2].abs().max()) == 0
    with pytest.raises(DataError, match="directions of 'sea' differ along one line only, and span no plane"):
        steering_plane(torch.tensor([[1.0, 0.0], [2.0, 0.0]]).double(), "sea")


def test_a_candidate_is_the_difference_of_unit_means_of_unit_states() -> None:
    x = torch.zeros(4, 32)
    x[:, :2] = torch.tensor([[3.0, 0.0], [0.0, 5.0], [-2.0, 0.0], [-7.0, 0.0]])
    data = replace(
        planted(), x=x, y=torch.tensor([True, True, False, False]), row=torch.arange(4), held_out=None, relations=()
    )
    torch.testing.assert_close(candidate(data)[:2], torch.tensor([1 + 0.5**0.5, 0.5**0.5]).double())


def test_every_norm_gives_states_at_the_angle_and_each_text_is_as_alone() -> None:
    model, method = through().model, AngularSteering()
    fitted = method.fit(planted())
    assert len(fitted.parts) == 2 * model.n_layers
    plane = fitted.parts[0].arrays["plane"]
    edits = [replace(edit, model=None) for edit in method.edit(fitted, 1.0)]
    sites = [edit.site for edit in edits]
    before = model.read(model.tokenize(PROMPTS, chat=True), sites, positions="all")
    with model.edited(edits):
        after = model.read(model.tokenize(PROMPTS, chat=True), sites, positions="all")
    for site in sites:
        inside = after.x(site).float() @ plane.T
        assert bool((inside[:, 0] > 0).all())
        torch.testing.assert_close(inside[:, 1], torch.zeros_like(inside[:, 1]), atol=1e-5, rtol=0)
    first = sites[0]
    torch.testing.assert_close(after.x(first).norm(dim=1), before.x(first).norm(dim=1))
    found = model.generate(PROMPTS, edits=edits)
    assert found == [model.generate([prompt], edits=edits)[0] for prompt in PROMPTS] != model.generate(PROMPTS)


def test_a_norm_behind_which_all_texts_are_alike_has_no_candidate_and_is_turned() -> None:
    method = AngularSteering(positions="all[-1]", pool="last")
    assert len(method.fit(asked_alike()).parts) == 2 * through().model.n_layers


def asked_alike() -> wb.Labelled:
    """Texts that all end in the same token."""
    data = planted()
    items = tuple(wb.Item.exchange(item.instruction, f"{item.response} end") for item in data.items)
    held = data.held_out
    assert held is not None
    return replace(data, items=items, held_out=replace(held, items=items))
