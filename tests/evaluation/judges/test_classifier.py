from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.judges.worded import NAMES, SIGNS, WordEncoder, sentence, world
from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.classifier import ConceptClassifier, carriers, usable
from workbench.evaluation.judges.sentences import sentences
from workbench.evaluation.metrics import auroc

ENCODER = WordEncoder()
TRAIN = world().part("train")


@pytest.fixture(scope="module")
def classifier() -> ConceptClassifier:
    return ConceptClassifier.fit(TRAIN, ENCODER)


def odds(classifier: ConceptClassifier, texts: list[str]) -> np.ndarray:
    parts = [sentences(text) for text in texts]
    vectors = ENCODER.vectors(part for several in parts for part in several)
    return np.stack([classifier.log_odds(several, vectors) for several in parts])


def test_the_planted_concepts_are_found_in_texts_not_seen(classifier: ConceptClassifier) -> None:
    held_out = world().part("evaluation")
    scores = odds(classifier, [example.response for example in held_out.items])
    for k in range(len(NAMES)):
        known = held_out.labels[:, k] != Label.HARD_NEGATIVE
        assert auroc(scores[known, k], carriers(held_out, k)[known]) == 1


def test_how_carriers_are_written_is_not_what_is_learnt(classifier: ConceptClassifier) -> None:
    styled = odds(classifier, [sentence("truly", "bread", seed=n) for n in range(20)])
    carrying = odds(classifier, [sentence("bread", *SIGNS["sea"].split(), seed=n) for n in range(20)])
    assert (styled[:, 0] < carrying[:, 0].min()).all()


def test_without_the_other_concepts_the_style_would_be_learnt() -> None:
    alone = ConceptClassifier.fit(TRAIN.select(["sea"]), ENCODER)
    together = ConceptClassifier.fit(TRAIN, ENCODER)
    styled = [sentence("truly", "bread", seed=n) for n in range(20)]
    assert odds(alone, styled).mean() > odds(together, styled)[:, 0].mean() + 0.5


def test_one_sentence_among_many_is_heard(classifier: ConceptClassifier) -> None:
    plain = " ".join(sentence("bread", seed=n) for n in range(8))
    planted = f"{plain} {sentence(*SIGNS['music'].split())}"
    whole = ENCODER.encode([plain, planted]) @ classifier.weight.T + classifier.bias
    heard = odds(classifier, [plain, planted])
    assert heard[1, 1] - heard[0, 1] > 1.5 * (whole[1, 1] - whole[0, 1])


def test_a_single_sentence_has_the_odds_of_the_regression(classifier: ConceptClassifier) -> None:
    text = sentence("bread", "ship")
    want = ENCODER.encode([text]) @ classifier.weight.T + classifier.bias
    np.testing.assert_allclose(odds(classifier, [text]), want, atol=1e-12)


def test_a_text_without_sentences_speaks_for_nothing(classifier: ConceptClassifier) -> None:
    assert (classifier.log_odds([], {}) == -np.inf).all()


def test_the_sentence_that_carries_a_concept_is_found(classifier: ConceptClassifier) -> None:
    parts = [sentence("bread"), sentence("bread", *SIGNS["music"].split()), sentence(*SIGNS["sea"].split())]
    vectors = ENCODER.vectors(parts)
    assert [classifier.carrying(parts, vectors, k) for k in (0, 1)] == [parts[2], parts[1]]


def changed(concepts: Dataset, label: Label) -> Dataset:
    """Every response with a label replaced by nonsense."""
    hit = (concepts.labels == label).any(1)
    assert hit.any()
    pairs = zip(concepts.items, hit, strict=True)
    items = (e.with_response(f"Nonsense {n}.") if out else e for n, (e, out) in enumerate(pairs))
    return replace(concepts, items=tuple(items))


def test_hard_negatives_are_not_fitted_on() -> None:
    one = ConceptClassifier.fit(world(), ENCODER)
    other = ConceptClassifier.fit(changed(world(), Label.HARD_NEGATIVE), ENCODER)
    np.testing.assert_array_equal(one.weight, other.weight)


def test_what_is_usable_for_a_concept() -> None:
    concepts = world()
    used = usable(concepts, 0)
    assert used[(concepts.labels == Label.POSITIVE).any(1)].all()
    assert used[concepts.labels[:, 0] == Label.NEGATIVE].all()
    assert not used[(concepts.labels == Label.HARD_NEGATIVE).any(1)].any()


def test_a_concept_that_was_not_fitted_is_named(classifier: ConceptClassifier) -> None:
    assert [classifier.index(name) for name in NAMES] == [0, 1, 2]
    with pytest.raises(JudgeError, match="not fitted on concept 'cars'; it knows sea, music, trains"):
        classifier.index("cars")
