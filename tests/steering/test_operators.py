"""Ways to write along a direction other than adding it: by the state's sign, to a bound, by an angle."""

from dataclasses import replace
from math import radians

import pytest
import torch
from torch import Tensor

from steering.methods.capping import ActivationCapping
from steering.methods.control import ControlOperator
from steering.methods.diffmean import DiffMean
from steering.methods.pca import PCA
from steering.methods.rotation import Rotation
from tests.planted import D, planted
from tests.tiny import tiny_model
from workbench.artifacts.file import ArtifactError, Contents
from workbench.artifacts.vector import Vector
from workbench.methods.method import AdditiveMethod
from workbench.models.edits import Clamp, ProjectOut
from workbench.models.nonlinear_edits import Rotate
from workbench.models.positions import Layout
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

H = 3 * torch.randn(4, 7, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()


def moved(method: AdditiveMethod, strength: float, h: Tensor = H) -> Tensor:
    (edit,) = method.edit(method.fit(planted()), strength)
    layout = Layout.of(Tokens(tuple(Row((1,) * h.shape[1]) for _ in h)), list(range(len(h))))
    return edit.apply(h, layout)


def along(h: Tensor) -> Tensor:
    return h @ DiffMean().fit(planted()).direction


def test_the_piecewise_operator_strengthens_either_sign() -> None:
    vector, after = DiffMean().fit(planted()), moved(ControlOperator(operator="piecewise"), 0.5)
    added = 0.5 * vector.unit * along(H).sign()[..., None] * vector.direction
    torch.testing.assert_close(after, H + added)
    assert {-1.0, 1.0} == {*along(H).sign().flatten().tolist()}  # both signs are there
    assert bool((along(after).abs() > along(H).abs()).all())
    torch.testing.assert_close(moved(ControlOperator(operator="linear"), 0.5), moved(DiffMean(), 0.5))


def test_the_projection_takes_the_component_out() -> None:
    after = moved(ControlOperator(operator="projection"), 1.0)
    assert float(along(after).abs().max()) < 1e-5
    torch.testing.assert_close(along(moved(ControlOperator(operator="projection"), 0.5)), along(H) / 2)


@pytest.mark.parametrize("bound", ["at_least", "at_most"])
def test_a_bound_moves_what_is_beyond_it_and_nothing_else(bound: str) -> None:
    method = ActivationCapping(bound="at_least" if bound == "at_least" else "at_most", of="all", percentile=50.0)
    limit = -method.fit(planted()).bias
    before, after = along(H), along(moved(method, 1.0))
    beyond = before < limit if bound == "at_least" else before > limit
    assert 0 < int(beyond.sum()) < beyond.numel()
    assert torch.equal(moved(method, 1.0)[~beyond], H[~beyond])
    torch.testing.assert_close(after[beyond], torch.full_like(after[beyond], limit), atol=1e-4, rtol=0)
    torch.testing.assert_close(along(moved(method, 0.5))[beyond], (before[beyond] + limit) / 2, atol=1e-4, rtol=0)


def test_the_bound_is_the_percentile_of_held_out_projections() -> None:
    data = planted()
    held = data.held_out
    assert held is not None
    artifact = ActivationCapping(percentile=25.0).fit(data)
    above = held.x[held.y] @ artifact.direction > -artifact.bias
    assert float(above.float().mean()) == pytest.approx(0.75, abs=0.01)
    assert float((artifact.detect(held.x[held.y]) > 0).float().mean()) == pytest.approx(0.75, abs=0.01)
    with pytest.raises(ValueError, match=r"percentile is 101\.0; expected numbers at least 0 and at most 100"):
        ActivationCapping(percentile=101.0)


@pytest.mark.parametrize("form", ["angle", "rescaled"])
@pytest.mark.parametrize("strength", [-1.0, 0.4, 1.4, 50.0])
def test_a_rotation_keeps_the_length(form: str, strength: float) -> None:
    after = moved(Rotation(form="angle" if form == "angle" else "rescaled"), strength)
    ratio = after.double().norm(dim=-1) / H.double().norm(dim=-1)
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-6, rtol=0)
    closer = along(after) > along(H)
    assert bool((closer if strength > 0 else ~closer).all())


def test_a_rotation_turns_by_its_angle_and_stops_at_the_direction() -> None:
    def angle(h: Tensor) -> Tensor:
        return (along(h.double().float()) / h.norm(dim=-1)).clamp(-1, 1).acos()

    turned = angle(H) - angle(moved(Rotation(degrees=20.0), 1.5))
    torch.testing.assert_close(turned, torch.full_like(turned, radians(30)), atol=1e-4, rtol=0)
    assert float(angle(moved(Rotation(degrees=90.0), 3.0)).max()) < 1e-3
    unit = DiffMean().fit(planted()).direction
    both = torch.stack([unit, -unit])[None].repeat(4, 1, 1)  # no plane with the direction: nothing to turn in
    torch.testing.assert_close(moved(Rotation(), 1.0, both), both)


def test_a_float64_state_turns_in_float64() -> None:
    """By its angle and at its length, to what float64 can tell."""
    h = torch.randn(1, 3, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    axis = torch.eye(D)[0]
    layout = Layout.of(Tokens((Row((1, 2, 3), 0),)), [0])
    turned = Rotate(site=Site(1), direction=axis, strength=0.25).apply(h, layout)

    def angle(state: torch.Tensor) -> torch.Tensor:
        return torch.atan2(state[..., 1:].norm(dim=-1), state[..., 0])

    torch.testing.assert_close(turned.norm(dim=-1), h.norm(dim=-1), atol=0, rtol=1e-13)
    torch.testing.assert_close(angle(h) - angle(turned), torch.full((1, 3), 0.25).double(), atol=1e-13, rtol=0)


def test_rows_turn_by_their_own_angles_and_a_model_generates_under_it() -> None:
    model = tiny_model()
    direction = torch.randn(2, D, generator=torch.Generator().manual_seed(1))
    both = Rotate(site=Site(1), direction=direction, strength=torch.tensor([0.0, 0.8]))
    plain = model.generate(["one", "two"])
    found = model.generate(["one", "two"], edits=both)
    alone = model.generate(["two"], edits=Rotate(site=Site(1), direction=direction[1], strength=0.8))
    assert found[0] == plain[0]
    assert found[1] == alone[0] != plain[1]


def test_another_base_is_named_and_counts() -> None:
    usual, other = Rotation(), Rotation(base=PCA())
    assert (usual.title, other.title) == ("Rotation", "Rotation (PCA)")
    assert usual.identity != other.identity
    assert usual.fit(planted()).origin.settings != other.fit(planted()).origin.settings
    assert torch.equal(other.fit(planted()).direction, PCA().fit(planted()).direction)


@pytest.mark.usefixtures("types_unchecked")
def test_another_operator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"operator is 'cubic'; expected one of linear"):
        replace(ControlOperator(), operator="cubic")


def test_what_does_not_write_by_adding_has_no_addition() -> None:
    """Its vector would be added by whoever takes it for one: from a file, in a server, under a model."""
    for method in (ActivationCapping(), Rotation(), ControlOperator(operator="piecewise")):
        artifact = method.fit(planted())
        assert method.edit(artifact, 1.0)
        with pytest.raises(ArtifactError, match=f"comes from {type(method).__name__}, which does not write by adding"):
            artifact.edit()
        with pytest.raises(ArtifactError, match="does not write by adding"):
            _ = artifact + artifact
        again = Vector.restore(Contents(artifact.tensors(), artifact.header()), artifact.origin)
        assert not again.additive
    linear = ControlOperator(operator="linear").fit(planted())
    assert "additive" not in linear.header()  # so that they keep their digests
    assert linear.edit()


def test_a_multiple_of_a_bounded_vector_has_the_same_bound() -> None:
    method = ActivationCapping(percentile=25.0)
    artifact = method.fit(planted())
    (one,), (twice,) = method.edit(artifact, 1.0), method.edit(2 * artifact, 1.0)
    assert isinstance(one, Clamp)
    assert isinstance(twice, Clamp)
    assert twice.target == pytest.approx(one.target, rel=1e-6)


def test_the_component_along_a_huge_direction_is_taken_out() -> None:
    unit = torch.nn.functional.normalize(torch.ones(32), dim=0)
    model = tiny_model()
    with model.edited(ProjectOut(site=Site(1), direction=1e20 * unit)):
        left = model.read(["the sea"], Site(1), positions="all").x(Site(1)) @ unit
    torch.testing.assert_close(left, torch.zeros_like(left), atol=1e-5, rtol=0)
