"""A direction carried over an affine map that is known, and over the identity."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from steering.methods.diffmean import DiffMean
from steering.methods.mapped import MappedDiffMean, carried_means
from tests.data.sets import few
from tests.planted import planted
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.data.packaged import packaged
from workbench.data.states import States
from workbench.evaluation.detecting import detections, text_scores
from workbench.models.cache import WeightsError


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def test_a_planted_direction_goes_where_a_known_map_sends_it() -> None:
    concept, weight, offset = normal(6, seed=1), normal(6, 4, seed=2), normal(4, seed=3)
    y = torch.arange(400) % 2 == 0
    there = normal(400, 6, seed=4) + 2 * y[:, None] * concept
    here = there @ weight + offset + 0.01 * normal(400, 4, seed=5)
    here[y] = 100  # what the texts with the concept look like here must not matter
    positive, negative = carried_means(there, here, y)
    expected = (there[y].mean(0) - there[~y].mean(0)) @ weight
    torch.testing.assert_close(positive - negative, expected, atol=0.05, rtol=0.05)
    torch.testing.assert_close(negative, here[~y].mean(0), atol=1e-6, rtol=1e-6)


def test_from_the_same_place_it_is_the_difference_in_means() -> None:
    data = planted(n_rows=200)
    assert data.through is not None
    model, texts = data.through.model, data.items
    states = model.read(model.tokenize([one.instruction for one in texts], [one.response for one in texts]), data.site)
    read = replace(
        data, x=states.arrays[data.site].float(), row=states.row, y=states.row % 2 == 0, held_out=None, model=model.name
    )
    own, mapped = DiffMean().fit(read), MappedDiffMean(layer=data.site.layer).fit(read)
    assert float(own.direction @ mapped.direction) > 0.99


@pytest.mark.slow
def test_a_direction_of_a_lower_block_still_reads(default_data: States) -> None:
    method = MappedDiffMean()
    vectors = method.fit_all(default_data)
    scores = text_scores(default_data, {"mapped": (method, vectors)})["mapped"]
    (found,) = detections(default_data.dataset, scores)
    assert found.auroc > 0.8
    own = DiffMean().fit(default_data[0])
    assert 0.6 < float(vectors[0].direction @ own.direction) < 0.99


@pytest.fixture(scope="module")
def default_data(default_model) -> States:
    return States.read(few(packaged().select(["cooking"]), 40), default_model)


def test_without_model_or_texts_it_says_what_is_missing() -> None:
    data: Labelled = planted()
    with pytest.raises(DataError, match=r"'planted'.*live model"):
        MappedDiffMean().fit(replace(data, through=None))
    with pytest.raises(DataError, match=r"'planted'.*texts"):
        MappedDiffMean().fit(replace(data, items=()))


def test_its_identity_is_that_of_the_weights_and_not_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights, method = tmp_path / "model.safetensors", MappedDiffMean(model=str(tmp_path))
    weights.write_bytes(b"one")
    one = method.identity
    weights.write_bytes(b"another")
    other = method.identity
    assert one["weights"] != other["weights"]
    assert one | {"weights": ""} == other | {"weights": ""}
    assert "weights" not in MappedDiffMean().identity  # the data's own model is in every key beside the method


def test_weights_that_are_not_there_have_no_identity(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a Hugging Face model folder"):
        MappedDiffMean(model=str(tmp_path)).identity  # noqa: B018
