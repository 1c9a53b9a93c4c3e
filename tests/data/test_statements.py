"""Generated statements are balanced, paired and split by subject; published files give the same type."""

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError
from workbench.data.named import datasets
from workbench.data.sentiment import load_sentiment
from workbench.data.statements import TRUE, families, load_statements, split_statements, statements, with_negations

LEAST = {"cities": 240, "larger_than": 200, "smaller_than": 200, "translations": 120, "elements": 80, "animals": 100}


def texts(data: Dataset, value: bool | None = None) -> list[str]:
    """The statements, or those that are true or false."""
    return [
        item.response
        for item, label in zip(data.items, data.column("true"), strict=True)
        if value is None or label == value
    ]


def words(chosen: list[str]) -> Counter[str]:
    return Counter(word for text in chosen for word in re.findall(r"\w+", text.lower()))


@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("family", families())
def test_labels_are_balanced_in_every_group_and_use_the_same_words(family: str, negated: bool) -> None:
    made = statements(family, negated=negated)
    assert len(made) >= LEAST[family]
    assert len(set(texts(made))) == len(made)
    truth = {group: sorted(made.column("true")[made.group == group]) for group in set(made.group.tolist())}
    assert set(map(tuple, truth.values())) == {(0, 1)}
    assert words(texts(made, True)) == words(texts(made, False))


@pytest.mark.parametrize("family", families())
def test_a_negation_is_related_to_its_statement_and_has_the_other_label(family: str) -> None:
    both = with_negations(family)
    relation = both.relation("negation")
    plain, negated = relation.role("affirmed"), relation.role("negated")
    assert sorted([*plain, *negated]) == list(range(len(both)))
    assert (both.column("true")[plain] != both.column("true")[negated]).all()
    assert (both.group[plain] == both.group[negated]).all()
    for one, other in zip(plain, negated, strict=True):
        left, right = both.items[one].response, both.items[other].response
        assert re.sub(r"\bnot |\bdoes |s\b", "", right) == re.sub(r"s\b", "", left)
        assert " not " not in left


def test_what_is_known_to_be_true_is_labelled_so() -> None:
    label = {text: bool(value) for data in datasets(["truth"]) for value in (0, 1) for text in texts(data, bool(value))}
    for text in (
        "The city of Lyon is in France.",
        "The Spanish word 'perro' means 'dog'.",
        "The chemical symbol for gold is Au.",
        "The whale is a mammal.",
        "The city of Chicago is in the United States.",
    ):
        assert label[text]
    assert not label["The city of Lyon is not in France."]
    assert not label["The Spanish word 'perro' does not mean 'dog'."]


def test_comparisons_are_true_where_arithmetic_says_so() -> None:
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    units = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

    def value(word: str) -> int:
        ten, _, unit = word.lower().partition("-")
        return 20 + 10 * tens.index(ten) + (units.index(unit) if unit else 0)

    for family in ("larger_than", "smaller_than"):
        made = statements(family)
        for text, true in zip(texts(made), made.column("true"), strict=True):
            first, second = (value(word) for word in re.split(r" is (?:larger|smaller) than ", text.rstrip(".")))
            assert true == (first > second if family == "larger_than" else first < second)


def test_statements_are_the_same_every_time() -> None:
    # Written down once: other numbers mean that the false statements were dealt out or split in another way.
    cities = statements("cities")
    said = dict(zip(texts(cities), zip(cities.column("true"), cities.split, strict=True), strict=True))
    assert said["The city of Lyon is in Germany."] == (0, "evaluation")
    assert said["The city of Marseille is in France."] == (1, "train")
    assert "Twenty is larger than twenty-five." in texts(statements("larger_than"))


def test_no_group_crosses_the_split_and_families_of_one_subject_are_cut_alike() -> None:
    both, negated = with_negations("cities"), statements("cities", negated=True)
    parts = [set(both.group[both.split == split].tolist()) for split in SPLITS]
    assert not any(one & other for one, other in combinations(parts, 2))
    assert [(both.split == split).mean() for split in SPLITS] == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    assert [both.column("true")[both.split == split].mean() for split in SPLITS] == [0.5] * 3
    where = dict(zip(texts(both), both.split.tolist(), strict=True))
    assert all(where[text] == split for text, split in zip(texts(negated), negated.split, strict=True))
    assert statements("cities", seed=1).digest != statements("cities", seed=0).digest
    larger, smaller = (
        {
            frozenset((*text.lower().rstrip(".").split(" "),)[::4]): split
            for text, split in zip(texts(data), data.split, strict=True)
        }
        for data in (statements("larger_than", seed=3), statements("smaller_than", seed=3))
    )
    assert larger == smaller


def test_training_items_come_first_and_keep_their_order() -> None:
    data = statements("elements", seed=5)
    assert [SPLITS.index(split) for split in data.split] == sorted(SPLITS.index(split) for split in data.split)
    assert texts(statements("elements", seed=5)) == texts(data)


def test_shares_may_be_zero_and_must_sum_to_one(tmp_path: Path) -> None:
    from workbench.data.statements import Statement

    made = [Statement(f"{k} {word}", word == "yes", str(k)) for k in range(10) for word in ("yes", "no")]
    halves = split_statements("x", made, TRUE, 0, (0.5, 0.0, 0.5))
    assert [int((halves.split == split).sum()) for split in SPLITS] == [10, 0, 10]
    with pytest.raises(DataError, match="sum to 1"):
        split_statements("x", made, TRUE, 0, (0.5, 0.2, 0.2))


def test_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"no family 'towns'.*cities"):
        statements("towns")


def test_a_published_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "neg_cities.csv"
    path.write_text(
        'statement,label,city,country\n"Rome is not in Italy.",0,Rome,Italy\nRome is not in Spain.,1,Rome,Spain\n'
    )
    found = load_statements(path)
    assert (found.name, found.targets) == ("neg_cities", (TRUE,))
    assert texts(found) == ["Rome is not in Italy.", "Rome is not in Spain."]
    assert found.column("true").tolist() == [0, 1]
    assert found.group.tolist() == [0, 0]
    assert all(item.conversation.is_bare for item in found.items)


def test_both_orders_of_two_numbers_are_one_group(tmp_path: Path) -> None:
    path = tmp_path / "larger_than.csv"
    path.write_text("statement,label,n1,n2\nTwo is larger than one.,1,2,1\nOne is larger than two.,0,1,2\n")
    assert load_statements(path).group.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("statement\nA.\n", "no column label"),
        ("statement,label\nA.,yes\n", "line 2 has label 'yes'"),
        ("statement,label\nA.,.7\n", "line 2 has label '.7'; use 0 or 1"),
        ("statement,label\nA.,1\n,1\n", "line 3 has an empty statement"),
        ("statement,label,city\nA.,1\n", "line 2 has 2 cells, the header has 3"),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load_statements(path)


def sentences(label: str, texts: list[tuple[int, str]]) -> str:
    return f"label\t{label}\n" + "".join(f"{value}\t{text}\n" for value, text in texts)


def test_sentiment_in_both_published_layouts(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    rows = [(k % 2, f'{"a fine" if k % 2 else "a dull"} "film number {k} . ') for k in range(40)]
    path.write_text(sentences("sentence", rows))
    first = load_sentiment(path)
    assert sorted(item.response for item in first.items) == sorted(text.strip() for _, text in rows)
    assert ["fine" in item.response for item in first.items] == first.column(0).astype(bool).tolist()
    path.write_text(sentences("content", rows))
    assert load_sentiment(path).digest == first.digest
    path.write_text(sentences("text", rows))
    with pytest.raises(DataError, match="no column sentence or content"):
        load_sentiment(path)
    path.write_text(sentences("sentence", [(2, "dull .")]))
    with pytest.raises(DataError, match="line 2 has label '2'"):
        load_sentiment(path)


def test_the_published_truth_files(shared_data: Path) -> None:
    folder = shared_data / "geometry_of_truth"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    cities, negated = (load_statements(folder / f"{name}.csv") for name in ("cities", "neg_cities"))
    assert len(cities) == len(negated) == 1496
    assert len(set(cities.group.tolist())) < 1000
    plain = dict(zip(texts(cities), cities.column("true").tolist(), strict=True))
    said = zip(texts(negated), negated.column(0), strict=True)
    assert all(plain[text.replace(" not ", " ")] != true for text, true in said)
    numbers = load_statements(folder / "larger_than.csv")
    assert set(np.bincount(numbers.group).tolist()) == {2}


def test_the_published_sentiment_file(shared_data: Path) -> None:
    path = shared_data / "sst2" / "dev.tsv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    dev = load_sentiment(path)
    assert len(dev) == 872
    assert dev.column("positive").sum() == 444
