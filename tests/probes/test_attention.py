from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.methods.attention import AttentionProbe
from probes.methods.mass_mean import MassMean
from steering.methods.diffmean import DiffMean
from tests.planted import D, concept_set, planted, truth
from workbench.artifacts.artifact import Artifact, ArtifactError
from workbench.artifacts.attention import AttentionReadout
from workbench.artifacts.vector import Vector
from workbench.data.items import Item
from workbench.data.labelled import Labelled
from workbench.data.packaged import packaged
from workbench.data.states import States
from workbench.evaluation.detecting import text_scores
from workbench.evaluation.metrics import auroc
from workbench.methods.readers import LinearReader
from workbench.models.edits import Add

TOKENS = 10


def marker() -> torch.Tensor:
    """A unit direction at right angles to the concept's."""
    other = truth(1) - (truth(1) @ truth(0)) * truth(0)
    return other / other.norm()


def marked(seed: int, n_texts: int) -> Labelled:
    """One token of each text, marked by `marker`, tells whether the text has the concept; the others only disturb.

    They vary along the concept's direction more than the marked token differs, so that their mean hides it.
    """
    generator = torch.Generator().manual_seed(seed)
    concept, text = truth(0), torch.arange(n_texts)
    y, at = text % 2 == 0, torch.randint(TOKENS, (n_texts,), generator=generator)
    x = torch.randn(n_texts, TOKENS, D, generator=generator)
    x = x + 3 * torch.randn(n_texts, TOKENS, 1, generator=generator) * concept
    told = x[text, at] - (x[text, at] @ concept)[:, None] * concept + 6 * marker()
    x[text, at] = (
        told + (torch.where(y, 2.0, -2.0) + 0.5 * torch.randn(n_texts, generator=generator))[:, None] * concept
    )
    rows = text.repeat_interleave(TOKENS)
    return replace(planted(), x=x.flatten(0, 1), y=y.repeat_interleave(TOKENS), row=rows, items=(), held_out=None)


def test_reads_the_token_that_tells_where_a_mean_cannot():
    train, test = replace(marked(0, 80), held_out=marked(1000, 40)), marked(5, 400)
    probe = AttentionProbe()
    attention = probe.fit(train)
    scores = probe.score_texts(attention, test.x, test.row, 400).numpy()
    means = [data.x.unflatten(0, (-1, TOKENS)).mean(1).numpy() for data in (train, test)]
    linear = [LogisticRegression(C=C, max_iter=2000).fit(means[0], train.row_y.numpy()) for C in (0.01, 0.1, 1.0, 10.0)]
    by_token = DiffMean().score_texts(DiffMean().fit(train), test.x, test.row, 400).numpy()
    truth_of_texts = test.row_y.numpy()
    assert float(auroc(scores, truth_of_texts)) > 0.98
    assert max(float(auroc(fit.decision_function(means[1]), truth_of_texts)) for fit in linear) < 0.8
    assert float(auroc(by_token, truth_of_texts)) < 0.8
    assert float(attention.direction @ truth(0)) > 0.8
    assert float(attention.query @ marker() / attention.query.norm()) > 0.8


def test_without_a_query_a_text_is_the_mean_of_its_tokens():
    data = planted()
    found = AttentionProbe().fit(data)
    plain = replace(found, query=torch.zeros(D))
    scores = plain.score_texts(data.x, data.row, len(data.row_y))
    torch.testing.assert_close(scores, plain.vector.detect(data.x).unflatten(0, (len(data.row_y), -1)).mean(1))


def test_the_threshold_is_at_log_odds_zero():
    data = planted(n_rows=200)
    found = AttentionProbe().fit(data)
    right = (found.score_texts(data.x, data.row, 200) > 0) == data.row_y
    assert float(right.float().mean()) > 0.95


def test_held_out_texts_end_the_training():
    """Labels that mean nothing: on other texts the loss only grows, and the first look is kept."""
    noise = planted(shift=0.0, n_rows=40)
    held = replace(planted(9, shift=0.0, n_rows=200), held_out=None)
    longer, short = AttentionProbe(), AttentionProbe(steps=5)
    kept = longer.fit(replace(noise, held_out=held))
    first = short.fit(replace(noise, held_out=held))
    torch.testing.assert_close(kept.direction, first.direction)
    on_and_on = longer.fit(replace(noise, held_out=None))
    assert float(on_and_on.direction @ first.direction) < 0.98


def test_the_last_step_is_kept_where_nothing_is_held_out():
    data = replace(planted(n_rows=20), held_out=None)
    many, few = AttentionProbe(steps=300).fit(data), AttentionProbe(steps=50).fit(data)
    assert not torch.allclose(many.query, few.query, atol=1e-3)


def test_concepts_stop_by_themselves():
    data = concept_set()
    probe = AttentionProbe(patience=10)
    for k, among in enumerate(probe.fit_all(data)):
        alone = probe.fit(data[k])
        torch.testing.assert_close(among.direction, alone.direction, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(among.query, alone.query, atol=1e-5, rtol=1e-4)
        assert among.bias == pytest.approx(alone.bias, abs=1e-4)


def test_a_constant_feature_is_not_read():
    data = planted()
    constant = [replace(part, x=torch.cat([part.x, torch.full_like(part.x[:, :1], 0.1)], 1)) for part in held(data)]
    found, plain = AttentionProbe().fit(replace(constant[0], held_out=constant[1])), AttentionProbe().fit(data)
    torch.testing.assert_close(found.direction[:-1], plain.direction)
    assert float(found.direction[-1].abs()) < 1e-6


def held(data: Labelled) -> tuple[Labelled, Labelled]:
    assert data.held_out is not None
    return data, data.held_out


def test_steers_along_its_direction_in_its_unit():
    data = planted()
    found = AttentionProbe().fit(data)
    assert data.held_out is not None
    projected = data.held_out.x[data.held_out.y] @ found.direction
    assert found.unit == pytest.approx(float(projected.max()))
    (edit,) = AttentionProbe().edit(found, 0.5)
    assert isinstance(edit, Add)
    torch.testing.assert_close(edit.direction, found.unit * found.direction)
    assert edit.strength == 0.5
    assert edit.site == data.site


def test_text_scores_pool_each_method_in_its_own_way():
    data = concept_set()
    probe, mean = AttentionProbe(), MassMean()
    attentions, vectors = probe.fit_all(data), mean.fit_all(data)
    found = text_scores(data, {"attention": (probe, attentions), "mean": (mean, vectors)})
    n_texts = len(data.dataset)
    for k in range(3):
        expected = attentions[k].score_texts(data.x, data.row, n_texts).numpy()
        np.testing.assert_array_equal(found["attention"][:, k], expected)
        largest = vectors[k].detect(data.x).unflatten(0, (n_texts, -1)).amax(1).numpy()
        np.testing.assert_allclose(found["mean"][:, k], largest, atol=1e-5)


class LastReader(LinearReader):
    """A text's last token is its score."""

    def texts(self, x, row, n_texts):
        return self.tokens(x).unflatten(0, (n_texts, -1))[:, -1]


class LastToken(MassMean):
    """A method that leaves vectors and pools in a way of its own."""

    def reader(self, artifact):
        return LastReader(artifact)


def test_vectors_are_not_pooled_over_the_head_of_their_method():
    data = concept_set()
    vectors = LastToken().fit_all(data)
    found = text_scores(data, {"last": (LastToken(), vectors)})["last"]
    last = torch.stack([vector.detect(data.x) for vector in vectors], 1).unflatten(0, (len(found), -1))[:, -1]
    np.testing.assert_array_equal(found, last.numpy())


def test_a_text_without_tokens_has_no_score():
    data = planted()
    found = AttentionProbe().fit(data)
    with pytest.raises(ArtifactError, match="61 texts cannot be scored from tokens of 60"):
        found.score_texts(data.x, data.row, 61)


def test_the_file_holds_query_and_direction(tmp_path):
    found = AttentionProbe().fit(planted())
    loaded = AttentionReadout.load(found.save(tmp_path / "probe.safetensors"))
    assert torch.equal(loaded.query, found.query)
    assert torch.equal(loaded.direction, found.direction)
    assert (loaded.bias, loaded.unit, loaded.site) == (found.bias, found.unit, found.site)
    with pytest.raises(ArtifactError, match="holds the kind 'attention'; use AttentionReadout"):
        Vector.load(tmp_path / "probe.safetensors")
    assert type(Artifact.load(tmp_path / "probe.safetensors")) is AttentionReadout


def test_reads_and_steers_a_model(llama):
    concepts = packaged().select(["cooking", "sea"])
    short = [Item.exchange(one.instruction[:80], one.response[:80], one.genre) for one in concepts.items]
    data = States.read(replace(concepts, items=tuple(short)), llama)
    probe = AttentionProbe(steps=40)
    found = probe.fit_all(data)
    scores = text_scores(data, {"attention": (probe, found)})["attention"]
    assert scores.shape == (len(data.dataset), 2)
    assert np.isfinite(scores).all()
    tokens = llama.tokenize(["Why do people travel?"], ["To see."])
    plain = llama.loss(tokens)
    with llama.edited(probe.edit(found[0], 0.0)):
        assert torch.equal(llama.loss(tokens), plain)
    with llama.edited(probe.edit(found[0], 5.0)):
        assert not torch.equal(llama.loss(tokens), plain)
