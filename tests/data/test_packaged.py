from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, Label, Split, text_key
from workbench.data.packaged import packaged

NAMES = ["weather", "cooking", "sea", "music", "gardens", "trains", "exceptions", "sql", "probability", "geometry"]
N_POSITIVE: dict[Split, int] = {"train": 36, "validation": 8, "evaluation": 18}
N_NEUTRAL: dict[Split, dict[str, int]] = {
    "train": {"text": 36, "code": 18, "math": 18},
    "validation": {"text": 6, "code": 3, "math": 3},
    "evaluation": {"text": 18, "code": 9, "math": 9},
}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return packaged()


def words(data: Dataset, concept: int, split: Split, label: Label) -> list[str]:
    return [data.items[row].response for row in data.rows(concept, split, label)]


def test_concepts_and_genres(data: Dataset) -> None:
    assert [concept.name for concept in data.targets] == NAMES
    assert Counter(concept.genre for concept in data.targets) == {"text": 6, "code": 2, "math": 2}
    assert data.targets[7].description == "SQL database queries"


@pytest.mark.parametrize("concept", range(10))
@pytest.mark.parametrize("split", SPLITS)
def test_counts_are_as_promised(data: Dataset, concept: int, split: Split) -> None:
    genre = data.targets[concept].genre
    neutral = N_NEUTRAL[split]
    assert len(data.rows(concept, split, Label.POSITIVE)) == N_POSITIVE[split]
    others = sum(other.genre == genre for other in data.targets) - 1
    n_negative = sum(neutral.values()) if split == "evaluation" else neutral[genre] + others * N_POSITIVE[split]
    assert len(data.rows(concept, split, Label.NEGATIVE)) == n_negative
    assert len(data.rows(concept, split, Label.HARD_NEGATIVE)) == (8 if split == "evaluation" else 0)


def test_negatives_are_neutral_in_evaluation_and_of_the_own_genre_elsewhere(data: Dataset) -> None:
    carries = (data.labels == Label.POSITIVE).sum(axis=1) + (data.labels == Label.HARD_NEGATIVE).sum(axis=1)
    assert carries.max() == 1
    assert (carries == 0).sum() == 120
    for k, concept in enumerate(data.targets):
        assert not carries[data.rows(k, "evaluation", Label.NEGATIVE)].any()
        for split in ("train", "validation"):
            assert {data.items[row].genre for row in data.rows(k, split, Label.NEGATIVE)} == {concept.genre}


@pytest.mark.parametrize("concept", range(10))
def test_positives_answer_different_instructions_of_the_concepts_genre(data: Dataset, concept: int) -> None:
    for split in SPLITS:
        asked = [data.items[row] for row in data.rows(concept, split, Label.POSITIVE)]
        assert len({example.instruction for example in asked}) == len(asked)
        assert {example.genre for example in asked} == {data.targets[concept].genre}


def test_no_response_is_there_twice(data: Dataset) -> None:
    assert max(Counter(text_key(example.response) for example in data.items).values()) == 1


def test_splits_and_steering_share_no_instruction(data: Dataset) -> None:
    asked = [{text_key(item.instruction) for item in data.part(split).items} for split in SPLITS]
    asked.append({text_key(instruction) for instruction in data.instructions})
    assert len(asked[-1]) == len(data.instructions) == 40
    assert len(set.union(*asked)) == sum(map(len, asked))


@pytest.mark.parametrize("concept", range(10))
def test_hard_negatives_use_a_word_of_the_train_positives_in_another_sense(data: Dataset, concept: int) -> None:
    known = set(tokens(" ".join(words(data, concept, "train", Label.POSITIVE))))
    for row in data.rows(concept, "evaluation", Label.HARD_NEGATIVE):
        example = data.items[row]
        assert example.sense
        assert example.word
        assert example.word in example.response.lower()
        assert len(known.intersection(tokens(example.response))) >= 3
    positives = data.rows(concept, "evaluation", Label.POSITIVE)
    assert all(data.items[row].word is None and data.items[row].sense is None for row in positives)


@pytest.mark.parametrize("concept", range(10))
def test_length_does_not_tell_the_kinds_apart(data: Dataset, concept: int) -> None:
    kinds = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
    means = [np.mean([len(text.split()) for text in words(data, concept, "evaluation", kind)]) for kind in kinds]
    assert max(means) < 1.3 * min(means)


def test_data_folder_holds_nothing_that_is_not_read() -> None:
    found = {entry.name for entry in files("workbench.data").joinpath("texts").iterdir()}
    lists = {"README.md", "concepts.json", "instructions.jsonl", "neutral.jsonl"}
    assert found == lists | {f"{name}.jsonl" for name in NAMES}


def test_bag_of_words_finds_concepts_but_fails_on_hard_negatives(data: Dataset) -> None:
    """Measured: mean AUROC 0.69 against neutral texts, 0.23 against hard negatives, of which 14 % are rejected."""
    auroc, auroc_hard, rejected = np.mean([bag_of_words(data, concept) for concept in range(10)], axis=0)
    assert auroc > 0.62
    assert auroc_hard < 0.45
    assert rejected < 0.3


def bag_of_words(data: Dataset, concept: int) -> tuple[float, float, float]:
    """Evaluation AUROC against negatives and hard negatives, and the share of hard negatives below the threshold."""
    texts, labels = labelled(data, concept, "train")
    vectorizer = CountVectorizer()
    classifier = LogisticRegression(C=100, max_iter=5000).fit(vectorizer.fit_transform(texts), labels)

    def score(texts: list[str]) -> np.ndarray:
        return classifier.decision_function(vectorizer.transform(texts))

    seen, seen_labels = labelled(data, concept, "validation")
    false_rate, true_rate, cuts = roc_curve(seen_labels, score(seen))
    texts, labels = labelled(data, concept, "evaluation")
    hard = score(words(data, concept, "evaluation", Label.HARD_NEGATIVE))
    positive = score(words(data, concept, "evaluation", Label.POSITIVE))
    pair = np.concatenate([positive, hard])
    return (
        float(roc_auc_score(labels, score(texts))),
        float(roc_auc_score(np.arange(len(pair)) < len(positive), pair)),
        float((hard < cuts[np.argmax(true_rate - false_rate)]).mean()),
    )


def labelled(data: Dataset, concept: int, split: Split) -> tuple[list[str], np.ndarray]:
    positive, negative = (words(data, concept, split, label) for label in (Label.POSITIVE, Label.NEGATIVE))
    return positive + negative, np.arange(len(positive) + len(negative)) < len(positive)


def tokens(text: str) -> list[str]:
    return CountVectorizer(stop_words="english").build_analyzer()(text)
