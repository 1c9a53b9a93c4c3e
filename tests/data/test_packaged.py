import json
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, Label, Split, text_key
from workbench.data.packaged import OTHERS, packaged

TEXT = (
    *("weather", "cooking", "sea", "music", "gardens", "trains", "sport", "money", "animals", "medicine", "space"),
    *("law", "school", "theatre", "war", "clothes", "mountains", "painting"),
)
CODE = ("exceptions", "sql", "regex", "recursion", "testing", "concurrency")
MATH = ("probability", "geometry", "calculus", "primes", "algebra", "statistics")
N_POSITIVE: dict[Split, int] = {"train": 36, "validation": 8, "evaluation": 18}
N_NEUTRAL: dict[Split, dict[str, int]] = {
    "train": {"text": 36, "code": 18, "math": 18},
    "validation": {"text": 6, "code": 3, "math": 3},
    "evaluation": {"text": 18, "code": 9, "math": 9},
}
TEXTS = files("workbench.data").joinpath("texts")
each_concept = pytest.mark.parametrize("concept", [*TEXT, *CODE, *MATH])


@pytest.fixture(scope="module")
def data() -> Dataset:
    return packaged()


def words(data: Dataset, concept: str, split: Split, label: Label) -> list[str]:
    return [data.items[row].response for row in data.rows(concept, split, label)]


def written_for(data: Dataset) -> np.ndarray:
    """The number of the concept that each text was written for, -1 for neutral ones."""
    own = np.isin(data.labels, (Label.POSITIVE, Label.HARD_NEGATIVE))
    assert own.sum(axis=1).max() == 1
    return np.where(own.any(axis=1), own.argmax(axis=1), -1)


def test_concepts_and_genres(data: Dataset) -> None:
    genres = {genre: [target.name for target in data.targets if target.genre == genre] for genre in N_NEUTRAL["train"]}
    assert {genre: sorted(names) for genre, names in genres.items()} == {
        "text": sorted(TEXT),
        "code": sorted(CODE),
        "math": sorted(MATH),
    }
    assert [target.name for target in data.targets][:3] == ["weather", "cooking", "sea"]
    assert data.targets[data.index("sql")].description == "SQL database queries"
    assert len({target.description for target in data.targets}) == 30


@each_concept
def test_counts_are_as_promised(data: Dataset, concept: str) -> None:
    for split in SPLITS:
        assert len(data.rows(concept, split, Label.POSITIVE)) == N_POSITIVE[split]
        assert len(data.rows(concept, split, Label.HARD_NEGATIVE)) == (8 if split == "evaluation" else 0)


@each_concept
def test_evaluation_negatives_are_the_same_neutral_texts_for_every_concept(data: Dataset, concept: str) -> None:
    rows = data.rows(concept, "evaluation", Label.NEGATIVE)
    assert Counter(data.items[row].genre for row in rows) == N_NEUTRAL["evaluation"]
    assert (written_for(data)[rows] == -1).all()


@each_concept
def test_five_texts_of_other_concepts_stand_by_each_neutral_one_however_many_concepts_there_are(
    data: Dataset, concept: str
) -> None:
    genre, owners = data.targets[data.index(concept)].genre, written_for(data)
    for split in ("train", "validation"):
        rows = data.rows(concept, split, Label.NEGATIVE)
        assert {data.items[row].genre for row in rows} == {genre}
        others = Counter(owners[rows].tolist())
        n_neutral = others.pop(-1)
        assert sum(others.values()) == OTHERS * n_neutral
        assert len(others) == sum(target.genre == genre for target in data.targets) - 1
        assert max(others.values()) - min(others.values()) <= 1


def test_neutral_texts_are_negatives_of_all_concepts_of_their_genre_that_they_do_not_carry(data: Dataset) -> None:
    names = [target.name for target in data.targets]
    neutral = dict(zip(map(text_key, (item.response for item in data.items)), data.labels, strict=True))
    lines = [json.loads(line) for line in TEXTS.joinpath("neutral.jsonl").read_text(encoding="utf-8").splitlines()]
    assert Counter((line["split"], line["instruction_id"].split("-")[0]) for line in lines) == {
        (split, genre): n for split, counts in N_NEUTRAL.items() for genre, n in counts.items()
    }
    for line in lines:
        genre, carried = line["instruction_id"].split("-")[0], set(line["carries"])
        assert carried <= set(names)
        assert not (carried and line["split"] == "evaluation")
        able = {target.name for target in data.targets if line["split"] == "evaluation" or target.genre == genre}
        labels = neutral[text_key(line["response"])]
        assert {names[k] for k in np.flatnonzero(labels == Label.NEGATIVE)} == able - carried


def test_a_selection_leaves_the_labels_of_a_concept_as_they_are(data: Dataset) -> None:
    assert data.select(["sql", "sea"]).digest_of("sea", SPLITS) == data.digest_of("sea", SPLITS)


@each_concept
def test_positives_answer_different_instructions_of_the_concepts_genre(data: Dataset, concept: str) -> None:
    for split in SPLITS:
        asked = [data.items[row] for row in data.rows(concept, split, Label.POSITIVE)]
        assert len({example.instruction for example in asked}) == len(asked)
        assert {example.genre for example in asked} == {data.targets[data.index(concept)].genre}


def test_no_response_is_there_twice(data: Dataset) -> None:
    assert max(Counter(text_key(example.response) for example in data.items).values()) == 1


def test_splits_and_steering_share_no_instruction(data: Dataset) -> None:
    asked = [{text_key(item.instruction) for item in data.part(split).items} for split in SPLITS]
    asked.append({text_key(instruction) for instruction in data.instructions})
    assert len(asked[-1]) == len(data.instructions) == 40
    assert len(set.union(*asked)) == sum(map(len, asked))


@each_concept
def test_hard_negatives_use_a_word_of_the_train_positives_in_another_sense(data: Dataset, concept: str) -> None:
    known = set(tokens(" ".join(words(data, concept, "train", Label.POSITIVE))))
    for row in data.rows(concept, "evaluation", Label.HARD_NEGATIVE):
        example = data.items[row]
        assert example.sense
        assert example.word
        assert example.word in example.response.lower()
        assert len(known.intersection(tokens(example.response))) >= 3
    positives = data.rows(concept, "evaluation", Label.POSITIVE)
    assert all(data.items[row].word is None and data.items[row].sense is None for row in positives)


@each_concept
def test_length_does_not_tell_the_kinds_apart(data: Dataset, concept: str) -> None:
    kinds = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)
    means = [np.mean([len(text.split()) for text in words(data, concept, "evaluation", kind)]) for kind in kinds]
    assert max(means) < 1.3 * min(means)


def test_data_folder_holds_nothing_that_is_not_read() -> None:
    found = {entry.name for entry in TEXTS.iterdir()}
    lists = {"README.md", "concepts.json", "instructions.jsonl", "neutral.jsonl", "behaviours"}
    assert found == lists | {f"{name}.jsonl" for name in (*TEXT, *CODE, *MATH)}


def test_bag_of_words_scores_what_the_readme_says(data: Dataset) -> None:
    """Means over concepts: AUROC against neutral texts and against hard negatives, and hard negatives rejected."""
    scores = np.mean([bag_of_words(data, target.name) for target in data.targets], axis=0)
    assert scores == pytest.approx([0.739, 0.376, 0.229], abs=0.01)


def bag_of_words(data: Dataset, concept: str) -> tuple[float, float, float]:
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


def labelled(data: Dataset, concept: str, split: Split) -> tuple[list[str], np.ndarray]:
    positive, negative = (words(data, concept, split, label) for label in (Label.POSITIVE, Label.NEGATIVE))
    return positive + negative, np.arange(len(positive) + len(negative)) < len(positive)


def tokens(text: str) -> list[str]:
    return CountVectorizer(stop_words="english").build_analyzer()(text)
