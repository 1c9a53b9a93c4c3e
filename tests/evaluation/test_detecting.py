"""Which texts are scored, and that what is left out is never looked at."""

from dataclasses import astuple

import numpy as np
import torch

from probes.methods.attribution import HeadConfig, InputXGradient
from tests.steering.adapting import concept_texts
from tests.tiny import tiny_model
from workbench.evaluation.detecting import detections, text_scores


def test_methods_that_run_the_model_score_what_is_judged_and_from_what_was_read() -> None:
    states, method = concept_texts(tiny_model(), concepts=2), InputXGradient(recipe=HeadConfig(epochs=2))
    concepts, heads = states.dataset, method.fit_all(states)
    scores = text_scores(states, {"ixg": (method, heads)})["ixg"]
    train = concepts.split == "train"
    unseen = np.broadcast_to(train[:, None], scores.shape)
    assert np.array_equal(np.isnan(scores), unseen)
    whole = torch.stack([method.detect_texts(head, concepts.items, states.through) for head in heads], 1).numpy()
    np.testing.assert_allclose(scores[~unseen], whole[~unseen], atol=1e-5, rtol=1e-4)
    rounded = (detections(concepts, some.round(3)) for some in (scores, whole))  # scores of 1e-8 are in any order
    for found, wanted in zip(*rounded, strict=True):
        np.testing.assert_allclose(astuple(found), astuple(wanted), atol=1e-4)
