"""The bag of words against the published recipe, written with scikit-learn alone."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from probes.methods.bag_of_words import BagOfWords
from tests.planted import planted


@pytest.mark.parametrize("chat", ["{}{}", "user turn {} model turn {}"])
def test_log_odds_are_those_of_the_published_probabilities(chat):
    data, test, method = planted(), planted(7), BagOfWords()
    recipe = make_pipeline(CountVectorizer(), LogisticRegression(C=100, solver="lbfgs", max_iter=1000))
    train, new = ([chat.format(t.instruction + " ", t.response) for t in part.items] for part in (data, test))
    probability = recipe.fit(train, data.row_y.numpy()).predict_proba(new)[:, 1]
    found = method.detect_texts(method.fit(data), test.items).double()
    np.testing.assert_allclose(found.sigmoid(), probability, atol=1e-3)
    assert probability.std() > 0.3
