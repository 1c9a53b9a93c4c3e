"""Directions at several sites: what they add, their arithmetic, and what becomes of a site that two of them share."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.artifacts.examples import ORIGIN, normal
from tests.tiny import tiny_model
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.models.edits import Add
from workbench.models.sites import Site

D = 32


def at(*layers: int, seed: int = 0) -> LayerVectors:
    return LayerVectors(ORIGIN, tuple(Vector(ORIGIN, Site(k), normal(D, seed=seed + k), 0.5, 2.0) for k in layers))


def added(vectors: LayerVectors, strength: float = 1.0) -> dict[Site, torch.Tensor]:
    return {edit.site: edit.direction * edit.strength for edit in vectors.edits(strength)}


def assert_adds(vectors: LayerVectors, expected: dict[Site, torch.Tensor]) -> None:
    found = added(vectors)
    assert list(found) == list(expected)
    for site, direction in expected.items():
        torch.testing.assert_close(found[site], direction)


def test_a_model_under_them_is_the_model_under_an_addition_at_each_site() -> None:
    model = tiny_model()
    vectors = at(2, 0).adopt(model.name, model.digest)
    assert vectors.sites == (Site(0), Site(2))
    one_by_one = [Add(site=Site(k), direction=2 * normal(D, seed=k), strength=0.7) for k in (0, 2)]
    with model.edited(vectors.edits(0.7)):
        together = model.logits(["the sea"])[0]
    with model.edited(one_by_one):
        torch.testing.assert_close(together, model.logits(["the sea"])[0])
    with pytest.raises(ValueError, match="comes from a fit on another model"), model.edited(at(0).edits()):
        pass


def test_arithmetic() -> None:
    one, other = at(0, 1), at(1, 2, seed=10)
    x, y = added(one), added(other)
    assert_adds(one + other, {Site(0): x[Site(0)], Site(1): x[Site(1)] + y[Site(1)], Site(2): y[Site(2)]})
    assert_adds(one - other, {Site(0): x[Site(0)], Site(1): x[Site(1)] - y[Site(1)], Site(2): -y[Site(2)]})
    assert_adds(3 * one, {site: 3 * direction for site, direction in x.items()})
    assert_adds(-one, {site: -direction for site, direction in x.items()})
    assert_adds(one / 4, {site: direction / 4 for site, direction in x.items()})
    assert (one + other).origin.label == "(sea + sea)"


def test_arithmetic_with_something_else_is_refused() -> None:
    several = at(0)
    (one,) = several.vectors
    for wrong, message in (
        (lambda: one + several, "added to the Vector for 'sea' is .*, of type LayerVectors; expected a Vector"),
        (lambda: several - one, "added to the LayerVectors for 'sea' is .*, of type Vector; expected a LayerVectors"),
        (lambda: one + 1, "is 1, of type int; expected a Vector"),
        (lambda: one * "2", "the factor of a vector is '2', of type str; expected a finite number"),
        (lambda: several * float("nan"), "the factor of a vector is nan, of type float; expected a finite number"),
        (lambda: one / None, "the factor of a vector is None"),
        (lambda: several / 0, "cannot be divided by 0"),
    ):
        with pytest.raises(ArtifactError, match=message):
            wrong()


def test_a_site_that_two_share_is_refused_added_or_kept() -> None:
    one, other = at(0, 1), at(1, 2, seed=10)
    with pytest.raises(ArtifactError, match=r"'sea' one at blocks\.1\.hook_resid_post; say conflict='add' or 'first'"):
        LayerVectors.join((one, other))
    x, y = added(one), added(other)
    assert_adds(
        LayerVectors.join((one, other), "first"), {Site(0): x[Site(0)], Site(1): x[Site(1)], Site(2): y[Site(2)]}
    )
    assert added(LayerVectors.join((one, other), "add")).keys() == added(one + other).keys()
    assert_adds(LayerVectors.join((at(0), at(2))), {Site(0): x[Site(0)], Site(2): 2 * normal(D, seed=2)})
    assert LayerVectors.join((one,)).digest == one.digest


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ArtifactError, match="expected one at each of one or more sites"):
        LayerVectors(ORIGIN, ())
    with pytest.raises(ArtifactError, match="expected one at each of one or more sites"):
        LayerVectors(ORIGIN, (at(0)[Site(0)], at(0)[Site(0)]))
    with pytest.raises(ArtifactError, match=r"no vector at blocks\.7\.hook_resid_post; it has them at blocks\.0"):
        _ = at(0)["blocks.7.hook_resid_post"]
    with pytest.raises(ArtifactError, match="fitted on tiny and on other cannot be joined; `adopt`"):
        _ = at(0) + at(1).adopt("other", "1")
    with pytest.raises(ArtifactError, match="nothing to join"):
        LayerVectors.join(())


def test_they_are_saved_with_parts_and_widths_of_their_own(tmp_path: Path) -> None:
    heads = replace(at(0)[Site(0)], site=Site(4, "z").head(3, 1), direction=normal(16).half())
    whole = LayerVectors(ORIGIN, (heads, *at(1).vectors))
    loaded = Artifact.load(whole.save(tmp_path / "vectors.safetensors"))
    assert isinstance(loaded, LayerVectors)
    assert loaded.digest == whole.digest
    assert torch.equal(loaded[Site(4, "z").head(3, 1)].direction, heads.direction)


def test_one_place_under_two_names_is_shared() -> None:
    below = LayerVectors(ORIGIN, (Vector(ORIGIN, Site(1), normal(D)),))
    above = LayerVectors(ORIGIN, (Vector(ORIGIN, Site(2, "resid_pre"), normal(D, seed=1)),))
    heads = [LayerVectors(ORIGIN, (Vector(ORIGIN, Site(1, "z").head(*each), normal(16)),)) for each in ((0, 1), (1, 2))]
    for pair in ((below, above), heads, (heads[0], LayerVectors(ORIGIN, (Vector(ORIGIN, Site(1, "z"), normal(D)),)))):
        with pytest.raises(ArtifactError, match="say conflict='add' or 'first' if that is meant"):
            LayerVectors.join(pair)
    assert LayerVectors.join((below, above), "first").sites == (Site(1),)
    assert LayerVectors.join((below, above), "add").sites == (Site(1), Site(2, "resid_pre"))
    with pytest.raises(ArtifactError, match="say conflict='add' if that is meant"):
        LayerVectors.join(heads, "first")  # head 2 is free, head 1 is not
    apart = LayerVectors(ORIGIN, (Vector(ORIGIN, Site(1, "z").head(3), normal(8)),))
    assert len(LayerVectors.join((heads[0], apart)).vectors) == 2


def test_a_difference_is_named_as_one() -> None:
    assert (at(0) - at(0)).origin.label == "(sea - sea)"
