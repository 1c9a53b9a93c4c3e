"""CAST: the condition's layer, threshold and side on planted scores; rows of one batch that differ; the cache."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import workbench as wb
from steering.methods.conditional import Conditional, best_condition
from tests.planted import through
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.conditional import ConditionalVector
from workbench.artifacts.file import ArtifactError, Contents
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.models.tokens import Tokens

SITE = wb.Site(2)
SEA = [f"Tell me of the sea, the sea and its wave {k}" for k in range(24)]
SUMS = [f"11 + 22 + {k} + 33 = ?" for k in range(24)]


def asked(positive: list[str], negative: list[str], other: str = "answer") -> Labelled:
    """Prompts with equal answers, if the other side's are not named: what tells the sides apart is what was asked."""
    texts = [(text, label) for label, side in ((1, positive), (0, negative)) for text in side]
    answers = ["answer"] * len(positive) + [other] * len(negative)
    items = tuple(wb.Item.exchange(text, f"{answers[k]} {k % 24}") for k, (text, _) in enumerate(texts))
    labels, split = np.array([label for _, label in texts], dtype=np.int8), (["train"] * 16 + ["validation"] * 8) * 2
    data = wb.Dataset("asked", items, (wb.Target("sea", "asks for the sea"),), (labels,), np.array(split))
    return wb.States.read(data, through().model, SITE)["sea"]


@pytest.fixture(scope="module")
def fitted() -> ConditionalVector:
    return Conditional().fit(asked(SEA, SUMS))


def test_the_best_threshold_lies_in_the_widest_gap_on_either_side() -> None:
    scores, met = torch.tensor([0.0, 1.0, 5.0, 6.0], dtype=torch.float64), torch.tensor([False, False, True, True])
    best = best_condition(scores, met)
    assert best is not None
    assert (best.f1, best.threshold, best.comparator) == (1.0, 3.0, "above")
    other = best_condition(scores, ~met)
    assert other is not None
    assert (other.f1, other.threshold, other.comparator) == (1.0, 3.0, "below")
    mixed = best_condition(scores, torch.tensor([True, False, True, True]))
    assert mixed is not None
    assert mixed.f1 == pytest.approx(0.8)  # the two on top: of three, two are found and none is wrong
    assert best_condition(torch.ones(4, dtype=torch.float64), met) is None


def test_rows_of_one_batch_differ_and_the_cache_changes_nothing(fitted: ConditionalVector) -> None:
    model = through().model
    assert fitted.f1 == 1.0
    edit = fitted.adopt(model.name, model.digest).edit(3.0)
    prompts = ["Tell me of the sea and its waves", "44 + 55 = ?", "Tell me of the sea", "66 + 77 + 8 = ?"]
    sampling = wb.Sampling(max_new_tokens=8)
    plain, always = (model.generate(prompts, edits=one, sampling=sampling) for one in ((), replace(edit, gate=None)))
    found = model.generate(prompts, edits=edit, sampling=sampling)
    assert all(one != other for one, other in zip(plain, always, strict=True))
    assert found == [always[0], plain[1], always[2], plain[3]]
    for prompt, text in zip(prompts, found, strict=True):  # each alone, and without a cache
        assert model.generate([prompt], edits=edit, sampling=sampling) == [text]
        row = model.tokenize([prompt], chat=True).rows[0]
        whole = replace(row, ids=(*row.ids, *text.ids))
        with model.edited(edit):
            logits = model.logits(Tokens((whole,)))[0][len(row.ids) - 1 : -1]
        assert logits.argmax(1).tolist()[: len(text.ids)] == list(text.ids)


def test_the_comparator_may_be_below(fitted: ConditionalVector) -> None:
    model = through().model
    turned = replace(fitted, condition=-fitted.condition, threshold=-fitted.threshold, comparator="below")
    prompts, sampling = ["Tell me of the sea", "44 + 55 = ?"], wb.Sampling(max_new_tokens=6)
    found = model.generate(prompts, edits=turned.edit(3.0), sampling=sampling)
    assert found == model.generate(prompts, edits=fitted.edit(3.0), sampling=sampling)


def test_the_published_similarity_is_of_the_whole_prompt_at_a_blocks_input_and_has_no_sign(tmp_path: Path) -> None:
    model, published = through().model, Conditional(form="compat").fit(asked(SEA, SUMS))
    assert (published.site.stream, published.score, str(published.positions)) == (
        "resid_pre",
        "cosine",
        "prefix+prompt",
    )
    assert published.f1 == 1.0
    prompts = ["Tell me of the sea and its waves", "44 + 55 = ?", "Tell me of the sea", "66 + 77 + 8 = ?"]
    tokens, c = model.tokenize(prompts, chat=True), published.condition.double()
    states = model.read(tokens, published.site, positions="prefix+prompt", pool="mean").x(published.site).double()
    seen = (states @ c / (c @ c))[:, None] * c  # P h of each prompt
    value = torch.nn.functional.cosine_similarity(states, seen.tanh())
    met = ((value > published.threshold) == (published.comparator == "above")).tolist()
    assert met == [True, False, True, False]
    sampling, edit = wb.Sampling(max_new_tokens=6), published.edit(3.0)
    plain, always = (model.generate(prompts, edits=one, sampling=sampling) for one in ((), replace(edit, gate=None)))
    found = model.generate(prompts, edits=edit, sampling=sampling)
    assert found == [always[0], plain[1], always[2], plain[3]]
    assert [model.generate([prompt], edits=edit, sampling=sampling)[0] for prompt in prompts] == found
    against = replace(published, condition=-published.condition)  # along the condition and against it are alike
    assert model.generate(prompts, edits=against.edit(3.0), sampling=sampling) == found
    loaded = Artifact.load(published.save(tmp_path / "published.safetensors"))
    assert isinstance(loaded, ConditionalVector)
    assert model.generate(prompts, edits=loaded.edit(3.0), sampling=sampling) == found


def test_files_from_before_there_was_a_choice_compare_the_projection(fitted: ConditionalVector) -> None:
    assert "score" not in fitted.header()  # so that they keep their digests
    assert ConditionalVector.restore(Contents(fitted.tensors(), fitted.header()), fitted.origin).score == "projection"


def test_a_vector_from_elsewhere_keeps_its_direction(fitted: ConditionalVector) -> None:
    other = replace(fitted.vector, direction=torch.eye(32)[3])
    both = Conditional().conditioned(other, asked(SEA, SUMS))
    assert torch.equal(both.vector.direction, other.direction)
    assert torch.equal(both.condition, fitted.condition)
    assert both.threshold == fitted.threshold


@pytest.mark.parametrize("stream", ["resid_pre", "attn_out", "mlp_out", "resid_post"])
def test_only_what_the_model_has_before_the_vectors_place_is_compared(fitted: ConditionalVector, stream: str) -> None:
    site = wb.Site(1, stream)
    read = Conditional().rereads(through().model, site).sites
    assert [one.layer for one in read] == ([0, 1] if stream == "resid_post" else [0])
    for one in read:
        replace(fitted, site=one, vector=replace(fitted.vector, site=site)).edit()
    if stream == "resid_pre":
        with pytest.raises(ArtifactError, match=r"is read at blocks\.1\.hook_resid_post, above the vector"):
            replace(fitted, site=wb.Site(1), vector=replace(fitted.vector, site=site))
        with pytest.raises(ValueError, match="nothing that CAST could compare is read in front of"):
            Conditional().rereads(through().model, wb.Site(0, stream))


@pytest.mark.usefixtures("types_unchecked")
def test_what_has_no_condition_is_refused(fitted: ConditionalVector) -> None:
    with pytest.raises(
        DataError, match="was fitted on other, and the prompts of 'sea' are read by tiny-llama; `adopt`"
    ):
        Conditional().conditioned(fitted.vector.adopt("other", "1"), asked(SEA, SUMS))
    with pytest.raises(DataError, match="CAST of 'sea' chooses its threshold on held-out prompts, and there are none"):
        Conditional().fit(replace(asked(SEA, SUMS), held_out=None))
    with pytest.raises(ArtifactError, match=r"is read at blocks\.9\.hook_resid_post, above the vector at blocks\.2"):
        replace(fitted, site=wb.Site(9))
    with pytest.raises(ArtifactError, match=r"there is no comparator 'over' .*; the comparators are above, below"):
        replace(fitted, comparator="over")
    with pytest.raises(ArtifactError, match=r"there is no score 'angle'"):
        replace(fitted, score="angle")


@pytest.mark.parametrize("form", ["fixed", "compat"])
def test_rounding_is_no_condition(form: Literal["fixed", "compat"]) -> None:
    """The same prompts on both sides, read in batches of other lengths, differ in their last bits."""
    same = asked(SEA, [*SEA[8:16], *SEA[:8], *SEA[20:], *SEA[16:20]], "no")
    with pytest.raises(DataError, match="finds no layer at which held-out prompts differ"):
        Conditional(form=form).fit(same)


@pytest.mark.usefixtures("types_unchecked")
def test_a_place_where_all_prompts_end_alike_is_left_out() -> None:
    found = Conditional(form="compat", pool="last").fit(asked(SEA, SUMS))
    assert found.site.layer > 0  # what goes into block 0 is the template's last token
    with pytest.raises(ValueError, match="pool is 'max'"):
        Conditional(pool="max")  # type: ignore[arg-type]
