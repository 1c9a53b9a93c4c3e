"""Methods that write at several places: one pair of prompts, every layer, every write of every block."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

import workbench as wb
from steering.methods.ablation import DirectionalAblation
from steering.methods.actadd import ActAdd
from steering.methods.capping import LayerwiseCapping
from steering.methods.diffmean import DiffMean
from steering.methods.layerwise import Layerwise
from steering.methods.mean_centring import MeanCentring
from tests.planted import planted, through
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.data.packaged import neutral
from workbench.models.positions import Layout
from workbench.models.tokens import Row, Tokens

SITE = wb.Site(1)


def read(positive: list[str], negative: list[str]) -> Labelled:
    """Texts of a tiny model, with their states."""
    data = wb.concepts({"sea": positive}, negatives=negative)
    return wb.States.read(data, through().model, SITE)["sea"]


@pytest.fixture(scope="module")
def texts() -> Labelled:
    return read([f"waves {k} of the sea" for k in range(12)], [f"a pan {k} on the fire" for k in range(12)])


def test_actadd_is_the_difference_of_two_prompts_at_each_token() -> None:
    model, site = through().model, wb.Site(1, "resid_pre")
    vectors = ActAdd(positive="Love", negative="Hate").fit(planted())
    sides = [
        model.read(model.tokenize([text], chat=True), site, positions="prompt[:4]").x(site) for text in ("Love", "Hate")
    ]
    torch.testing.assert_close(vectors.directions, sides[0] - sides[1], atol=1e-5, rtol=1e-5)
    short = ActAdd(positive="Love", negative="Be").fit(planted())
    filled = model.read(model.tokenize(["Be  "], chat=True), site, positions="prompt[:4]").x(site)
    torch.testing.assert_close(short.directions, sides[0] - filled, atol=1e-5, rtol=1e-5)
    assert len(ActAdd().fit(planted()).directions) == len("a planted concept")
    with pytest.raises(DataError, match="the two prompts are the same"):
        ActAdd(positive="same", negative="same").fit(planted())


def test_actadd_acts_at_the_first_tokens_of_the_prompt_only() -> None:
    method, model = ActAdd(positive="Love", negative="Hate"), through().model
    vectors = method.fit(planted()).adopt(model.name, model.digest)
    prompts, site = model.tokenize(["What is the sea?", "Why?"], chat=True), wb.Site(1, "resid_pre")
    plain = model.read(prompts, site, positions="all")
    with model.edited(method.edit(vectors, 0.4)):
        edited = model.read(prompts, site, positions="all")
    moved = (edited.x(site) - plain.x(site)).abs().amax(1) > 0
    assert plain.position is not None
    first = torch.tensor([row.prefix for row in prompts])[plain.row]
    assert torch.equal(moved, (plain.position >= first) & (plain.position < first + 4))
    torch.testing.assert_close(
        (edited.x(site) - plain.x(site))[moved], (0.4 * 5 * vectors.directions).repeat(2, 1), atol=1e-4, rtol=1e-4
    )
    # With the cache as without: the answer's own tokens are not edited, but follow from a prompt that was.
    (text,) = model.generate(["Why?"], edits=method.edit(vectors, 0.4), sampling=wb.Sampling(max_new_tokens=6))
    row = prompts.rows[1]
    with model.edited(method.edit(vectors, 0.4)):
        logits = model.logits(replace(prompts, rows=(replace(row, ids=(*row.ids, *text.ids)),)))[0]
    assert logits[len(row.ids) - 1 : -1].argmax(1).tolist()[: len(text.ids)] == list(text.ids)


def test_each_layer_has_the_direction_that_the_base_finds_there(texts: Labelled) -> None:
    vectors = Layerwise(layers=(0, 2)).fit(texts)
    assert vectors.sites == (wb.Site(0), wb.Site(2))
    data = wb.concepts(
        {"sea": [f"waves {k} of the sea" for k in range(12)]}, negatives=[f"a pan {k} on the fire" for k in range(12)]
    )
    there = wb.States.read(data, through().model, wb.ReadSpec.at(wb.Site(2), pool="mean"))["sea"]
    alone = DiffMean().fit(there)
    torch.testing.assert_close(vectors[wb.Site(2)].direction, alone.direction, atol=1e-5, rtol=0)
    assert vectors[wb.Site(2)].unit == pytest.approx(alone.unit / 2, rel=1e-5)
    assert Layerwise().fit(texts).sites == (wb.Site(1), wb.Site(2))
    with pytest.raises(DataError, match=r"Layerwise at layers \[7\]: tiny-llama has 3, from 0"):
        Layerwise(layers=(7,)).fit(texts)


def test_ablation_leaves_no_component_anywhere(texts: Labelled) -> None:
    model, method = through().model, DirectionalAblation()
    vectors = method.fit(texts)
    unit = DiffMean().fit(texts).direction
    sites = [
        wb.Site(layer, stream) for layer in range(3) for stream in ("resid_pre", "attn_out", "mlp_out", "resid_post")
    ]
    with model.edited(method.edit(vectors, 1.0)):
        edited = model.read(["the sea is wide"], sites, positions="all")
    plain = model.read(["the sea is wide"], sites, positions="all")
    for site in sites:
        assert float((plain.x(site) @ unit).abs().max()) > 1e-2
        assert float((edited.x(site) @ unit).abs().max()) < 1e-5
    with model.edited(wb.ProjectOut(site=SITE, direction=unit)):
        once = model.read(["the sea is wide"], wb.Site(2), positions="all").x(wb.Site(2))
    assert float((once @ unit).abs().max()) > 1e-2  # at one layer alone, the layers above write it again


def test_mean_centring_takes_a_direction_that_all_texts_share_away(texts: Labelled) -> None:
    model, generic = through().model, tuple(f"some text {k}" for k in range(6))
    vector = MeanCentring(generic=generic).fit(texts)
    read = model.read([*generic], SITE)
    expected = texts.x[texts.y].double().mean(0) - read.x(SITE).double().mean(0)
    torch.testing.assert_close(vector.direction.double(), expected / expected.norm(), atol=1e-6, rtol=0)
    other = read_with_other_negatives()
    assert torch.equal(MeanCentring(generic=generic).fit(other).direction, vector.direction)


def test_of_generic_texts_the_same_tokens_are_read_as_of_the_data() -> None:
    model, spec = through().model, wb.ReadSpec.at(SITE, positions="response[0]")
    items = tuple(wb.Item.exchange(f"question {k}", f"waves {k}" if k < 8 else f"sums {k}") for k in range(16))
    labels, split = np.repeat([1, 0], 8).astype(np.int8), np.array(["train"] * 16)
    data = wb.Dataset("asked", items, (wb.Target("sea", "the sea"),), (labels,), split)
    states = wb.States.read(data, model, spec)["sea"]
    vector = MeanCentring().fit(states)
    texts = [item.conversation for item, split in neutral() if split == "train"]
    generic = model.read(model.encode(texts), spec).x(SITE)
    expected = states.x[states.y].double().mean(0) - generic.double().mean(0)
    torch.testing.assert_close(vector.direction.double(), expected / expected.norm(), atol=1e-6, rtol=0)


def read_with_other_negatives() -> Labelled:
    return read([f"waves {k} of the sea" for k in range(12)], [f"one plus {k} is a sum" for k in range(12)])


@pytest.mark.parametrize("method", [ActAdd(), Layerwise(), DirectionalAblation(), MeanCentring()])
def test_without_the_live_model_it_is_refused(method: wb.Method) -> None:
    with pytest.raises(DataError, match=r"of 'planted' needs the live model: give the data `through`"):
        method.fit(replace(planted(), through=None))


@pytest.mark.parametrize("bound", ["at_least", "at_most"])
def test_capping_at_several_layers_is_a_floor_or_ceiling_at_each_ones_quarter(
    texts: Labelled, bound: Literal["at_least", "at_most"]
) -> None:
    """Projections 0 to 7 on one axis, 10 to 80 on another: a quarter of the way up, numpy's 1.75 and 27.5."""
    height, e = torch.arange(8.0), torch.eye(32)
    y = height >= 4
    sites = {wb.Site(1): (height, e[0]), wb.Site(2): (10 + 10 * height, e[1])}
    there = {
        site: replace(texts, x=along[:, None] * axis, y=y, row=torch.arange(8), site=site, held_out=None)
        for site, (along, axis) in sites.items()
    }
    method = LayerwiseCapping(bound=bound)
    assert ("ceiling" in method.title) == (bound == "at_most")
    vectors = method.fit_there(texts, there)
    assert [-vector.bias for vector in vectors.vectors] == [1.75, 27.5]
    lower, upper = method.edit(vectors, 1.0)
    h = torch.tensor([[1.0, 20.0], [1.75, 27.5], [5.0, 90.0]])[None] @ e[:2]
    for edit, axis, limit in ((lower, 0, 1.75), (upper, 1, 27.5)):
        after = edit.apply(h, Layout.of(Tokens((Row((1, 2, 3)),)), [0]))
        expected = h.clone()
        expected[0, 0 if bound == "at_least" else 2, axis] = limit  # the one beyond it; the others stay
        torch.testing.assert_close(after, expected)


def test_capping_at_several_layers_is_in_the_upper_half_and_each_text_is_as_alone() -> None:
    method, model = LayerwiseCapping(), through().model
    assert method.usual_layers(30) == (21, 22, 23, 24, 25, 26)
    assert method.usual_layers(80) == tuple(range(56, 72))  # as the paper has it
    vectors = method.fit(planted()).adopt(model.name, model.digest)
    assert {site.layer for site in vectors.sites} == set(method.usual_layers(model.n_layers))
    strong = LayerwiseCapping(percentile=100.0, layers=(1, 2)).fit(planted()).adopt(model.name, model.digest)
    edits, prompts = method.edit(strong, 1.0), ["What is the sea?", "Why?"]
    found = model.generate(prompts, edits=edits)
    assert found == [model.generate([prompt], edits=edits)[0] for prompt in prompts] != model.generate(prompts)
    with pytest.raises(ValueError, match=r"depth is \(0\.9, 0\.7\); expected two numbers that rise"):
        LayerwiseCapping(depth=(0.9, 0.7))
    with pytest.raises(ValueError, match=r"percentile is 101\.0; expected numbers at least 0"):
        LayerwiseCapping(percentile=101.0)
