"""What every registered method keeps, tested the moment it is registered."""

from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import numpy as np
import pytest
import torch

import probes
import steering
from steering.methods.diffmean import DiffMean
from steering.methods.random import RandomDirection
from steering.methods.sae import SAE
from steering.training.objective import TrainingConfig
from tests.planted import CONCEPT, D, concept_set, dictionary_file, planted, swapped, truth
from workbench.artifacts.artifact import Artifact, ArtifactError
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.evaluation.detecting import text_scores
from workbench.evaluation.metrics import auroc
from workbench.methods.capabilities import (
    Prompts,
    ScoresStates,
    ScoresTexts,
    Steers,
    detects,
    has_strength,
    steers,
)
from workbench.methods.method import Method
from workbench.models.edits import Edit
from workbench.models.positions import Layout
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

ENTRIES = steering.METHODS | probes.METHODS
SELECTIVE = ("refusal_direction",)
"""Fits only where a candidate passes its gate, and random states have none; see its own tests."""
NAMES = [name for name in ENTRIES if name not in SELECTIVE]


def make(name: str) -> Any:
    """The method; one that needs a dictionary gets that of the planted data, one that is trained takes few steps."""
    method = ENTRIES[name].make()
    if isinstance(getattr(method, "recipe", None), TrainingConfig):
        return replace(method, recipe=replace(method.recipe, epochs=1, batch_size=20))
    return replace(method, dictionary=dictionary_file()) if isinstance(method, SAE) else method


@cache
def fitted(name: str, seed: int = 0) -> Any:
    """What the method makes of the planted data: an artifact, which nothing changes."""
    return make(name).fit(planted(seed))


PAIRED = ("caa", "caa_compat", "pca_pairwise", "pca_global", "repe")
FINDERS = (
    "diffmean",
    "diffmean_text",
    *PAIRED,
    "probe",
    "ridge",
    "mass_mean",
    "mass_mean_whitened",
    "lda",
    "ccs",
    "attention",
)
"""Those that claim to find a planted mean difference (cosine above 0.9), and its negative from swapped labels."""
STATES = [name for name in NAMES if isinstance(make(name), ScoresStates)]
STEERED = [name for name in NAMES if has_strength(make(name))]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def layout(batch: int, pos: int) -> Layout:
    tokens = Tokens(tuple(Row(tuple(range(1, pos + 1)), 1, 2) for _ in range(batch)))
    return Layout.of(tokens, list(range(batch)))


def edited(edit: Edit, h: torch.Tensor) -> torch.Tensor:
    """A state under an edit where its gate is open, in a model with four heads."""
    return replace(edit.with_heads(4), gate=None).apply(h, layout(*h.shape[:2]))


def scores(method: Method, artifact: Artifact, data: Labelled) -> np.ndarray:
    """One score a text."""
    if isinstance(method, ScoresTexts):
        return method.detect_texts(artifact, data.items, data.through).numpy()
    assert isinstance(method, ScoresStates)
    return method.score_texts(artifact, data.x, data.row, len(data.row_y)).numpy()


def methods_of(package: str) -> set[type]:
    """The methods that the files of a package define, but for those that only others build on.

    Packages inside it have registries of their own.
    """
    modules = [
        f"{package}.methods.{path.stem}" for path in (Path(__file__).parents[1] / package / "methods").glob("*.py")
    ]
    found = {value for module in modules for value in vars(import_module(module)).values() if isinstance(value, type)}
    return {
        value
        for value in found
        if issubclass(value, Method) and value.__module__.startswith(f"{package}.") and not isabstract(value)
    }


@pytest.mark.parametrize("package", [steering, probes])
def test_every_method_is_registered(package):
    assert methods_of(package.__name__) == {type(entry.make()) for entry in package.METHODS.values()}


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is(name):
    method = make(name)
    assert method.label
    assert method.source
    assert detects(method) or steers(method)
    assert len(type(method).__doc__ or "") > 20


@pytest.mark.parametrize("name", FINDERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_direction_is_recovered(name, seed):
    vector = fitted(name, seed)
    assert float(vector.direction @ truth(seed)) > 0.9
    assert float(vector.direction.norm()) == pytest.approx(1, abs=1e-5)


WITHOUT_ORDER = ("integrated_gradients_compat", "input_x_gradient_compat", "prompt_detection_compat")
"""As published: speaking against the concept counts as for it (see tests/probes/test_attribution.py), and a model of
random weights writes no rating (see tests/probes/test_prompt_detection.py).
"""


@pytest.mark.parametrize(
    "name",
    [n for n in NAMES if (n in FINDERS or isinstance(make(n), ScoresTexts)) and n not in WITHOUT_ORDER],
)
def test_positives_score_above_negatives(name):
    test = planted(7)
    test = replace(test, x=test.x + 3 * test.y[:, None] * (truth(0) - truth(7)))
    assert auroc(scores(make(name), fitted(name), test), test.row_y.numpy()) > 0.9


def test_random_directions_do_not_detect_on_average():
    data = planted()
    draws = [RandomDirection(draw).fit(data) for draw in range(100)]
    areas = [auroc(draw.detect(data.x).numpy(), data.y.numpy()) for draw in draws]
    assert abs(float(np.mean(areas)) - 0.5) < 0.1
    assert float(np.std(areas)) > 0.05


@pytest.mark.parametrize("name", STEERED)
def test_strength_zero_is_the_identity(name):
    method, artifact = make(name), fitted(name)
    h = noise(2, 5, D)
    h[0, 0, 0] = -0.0
    for edit in method.edit(artifact, 0.0):
        after = edited(edit, h)
        assert after.numpy().tobytes() == h.numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", STEERED)
def test_edit_keeps_dtype_and_shape_and_leaves_its_input(name, dtype):
    method, artifact = make(name), fitted(name)
    h = noise(2, 5, D).to(dtype)
    before = h.clone()
    found = [edited(edit, h) for edit in method.edit(artifact, 1.5)]
    for after in found:
        assert after.dtype == dtype
        assert after.shape == h.shape
        assert after.device == h.device
    assert not all(torch.equal(after, h) for after in found)
    assert torch.equal(h, before)


@pytest.mark.parametrize("name", [name for name in NAMES if getattr(make(name), "additive", False)])
def test_doubled_strength_doubles_an_addition(name):
    method, artifact = make(name), fitted(name)
    h = torch.zeros(1, 4, D)
    (once,), (twice,) = method.edit(artifact, 0.7), method.edit(artifact, 1.4)
    torch.testing.assert_close(2 * once.apply(h, layout(1, 4)), twice.apply(h, layout(1, 4)))


@pytest.mark.parametrize("name", FINDERS)
def test_swapped_labels_flip_the_direction(name):
    one, other = fitted(name), make(name).fit(swapped(planted()))
    assert float(one.direction @ other.direction) < -0.99


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_is_the_same(name, tmp_path):
    method, data, artifact = make(name), planted(), fitted(name)
    loaded = Artifact.load(artifact.save(tmp_path / "artifact.safetensors"))
    assert type(loaded) is type(artifact)
    assert loaded.digest == artifact.digest
    assert loaded.origin == artifact.origin
    if detects(method):
        np.testing.assert_array_equal(scores(method, loaded, data), scores(method, artifact, data))
    if isinstance(method, Steers):
        for old, new in zip(method.edit(artifact, 0.5), method.edit(loaded, 0.5), strict=True):
            h = noise(1, 3, D)
            assert torch.equal(edited(old, h), edited(new, h))
    if isinstance(method, Prompts):
        assert method.instruct(loaded, "Why?") == method.instruct(artifact, "Why?")


@pytest.mark.parametrize("name", NAMES)
def test_same_data_same_digest(name):
    assert make(name).fit(planted()).digest == fitted(name).digest


@pytest.mark.parametrize("name", STATES)
def test_other_data_other_digest(name):
    assert fitted(name).digest != fitted(name, 1).digest


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: replace(d, y=torch.ones_like(d.y)), "both classes"),
        (lambda d: replace(d, x=torch.where(d.row[:, None] == 3, torch.nan, d.x)), r"row 3.*not finite"),
        (lambda d: replace(d, x=torch.ones_like(d.x)), "same hidden state"),
        (lambda d: replace(d, x=d.x[:0], y=d.y[:0], row=d.row[:0]), "both classes"),
    ],
    ids=["one class", "NaN", "constant", "empty"],
)
def test_bad_data_is_refused_by_name(name, spoil, message):
    with pytest.raises(DataError, match=message) as caught:
        make(name).fit(spoil(planted()))
    assert "planted" in str(caught.value)


@pytest.mark.parametrize("name", STATES)
def test_one_token_scores_as_among_many(name):
    method, data, artifact = make(name), planted(), fitted(name)
    together = method.detect(artifact, data.x)
    alone = torch.cat([method.detect(artifact, data.x[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(alone, together[:8], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", STATES)
def test_a_text_scores_alone_as_among_others(name):
    method, data, artifact = make(name), planted(), fitted(name)
    together = method.score_texts(artifact, data.x, data.row, len(data.row_y))
    for text in (0, 7):
        mine = data.row == text
        alone = method.score_texts(artifact, data.x[mine], torch.zeros_like(data.row[mine]), 1)
        torch.testing.assert_close(alone, together[text : text + 1], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"rows|texts"):
        method.score_texts(artifact, data.x, data.row, len(data.row_y) + 1)


@cache
def fitted_together(name: str) -> list[Any]:
    """What the method makes of the planted set, a concept each."""
    return make(name).fit_all(concept_set())


@pytest.mark.parametrize("name", STATES)
def test_scored_with_others_as_alone(name):
    method, data, others = make(name), concept_set(), [RandomDirection(draw) for draw in range(3)]
    artifacts = fitted_together(name)
    if isinstance(artifacts[0], Vector):  # far below 0, where what is rectified is no projection
        artifacts = [replace(artifact, bias=artifact.bias - 3.0) for artifact in artifacts]
    fitted = {"other": (others[0], others[0].fit_all(data)), name: (method, artifacts)}
    together = text_scores(data, fitted)[name]
    for k, artifact in enumerate(artifacts):
        alone = method.score_texts(artifact, data.x, data.row, len(data.dataset)).numpy()
        np.testing.assert_allclose(together[:, k], alone, atol=1e-5)


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("name", ENTRIES)
def test_a_setting_that_is_none_of_its_choices_is_refused(name):
    method = ENTRIES[name].make()
    hints = get_type_hints(type(method))
    for field in fields(method):
        if get_origin(hints[field.name]) is Literal:
            with pytest.raises(ValueError, match=f"{field.name} is 'nonesuch'; expected"):
                replace(method, **{field.name: "nonesuch"})


def test_a_method_that_claims_and_lacks_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match="Idle claims to do what it has no edit for"):

        class Idle(Method[Vector], Steers[Vector]):
            label = "Idle"

            def fit(self, data: Labelled) -> Vector:
                raise AssertionError

    with pytest.raises(TypeError, match="Twice defines detect, which follows from its other operations"):

        class Twice(DiffMean):
            def detect(self, artifact: Vector, x: torch.Tensor) -> torch.Tensor:
                return x[:, 0]


@pytest.mark.parametrize("name", NAMES)
def test_a_concept_alone_equals_it_among_others(name):
    method, data = make(name), concept_set()
    for k, among in enumerate(fitted_together(name)):
        alone = method.fit(data[k])
        assert alone.origin == among.origin
        for key, tensor in alone.tensors().items():
            torch.testing.assert_close(among.tensors()[key], tensor, atol=2e-3, rtol=1e-3)


def test_vector_arithmetic_and_its_refusals():
    one, other = (
        steering.METHODS["diffmean"].make().fit(planted(0)),
        steering.METHODS["diffmean"].make().fit(planted(1)),
    )
    h = torch.zeros(1, 3, D)

    def moved(vector: Vector) -> torch.Tensor:
        return vector.edit(1.0).apply(h, layout(1, 3))

    torch.testing.assert_close(moved(one + other), moved(one) + moved(other))
    torch.testing.assert_close(moved(one - other), moved(one) - moved(other))
    torch.testing.assert_close(moved(2 * one), 2 * moved(one))
    torch.testing.assert_close((-one).detect(h[0]), -one.detect(h[0]))
    stranger = other.adopt("another model", "another digest")
    with pytest.raises(ArtifactError, match=r"another model.*adopt"):
        _ = one + stranger
    with pytest.raises(ArtifactError, match="cannot be combined"):
        _ = one + replace(other, site=Site(2))


@pytest.mark.parametrize(
    "content", [b"", b"not a tensor file", b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00cposix\nsystem\n"]
)
def test_damaged_artifacts_are_refused_by_path(content, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"broken\.safetensors"):
        Artifact.load(path)


def test_artifact_of_another_kind_or_cut_short_is_refused(tmp_path):
    prompt = ENTRIES["prompt"].make().fit(planted()).save(tmp_path / "prompt.safetensors")
    with pytest.raises(ArtifactError, match="as Vector: it holds the kind 'prompt'; use Prompt"):
        Vector.load(prompt)
    whole = ENTRIES["diffmean"].make().fit(planted()).to_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-7])
    with pytest.raises(ArtifactError, match=r"cut\.safetensors"):
        Artifact.load(tmp_path / "cut.safetensors")
    with pytest.raises(ArtifactError, match=r"absent\.safetensors"):
        Artifact.load(tmp_path / "absent.safetensors")


def test_prompt_names_the_concept():
    method = ENTRIES["prompt"].make()
    asked = method.instruct(method.fit(planted()), "Why is the sky blue?")
    assert CONCEPT.description in asked
    assert asked.endswith("Why is the sky blue?")
