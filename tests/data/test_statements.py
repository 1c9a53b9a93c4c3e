"""Generated statements are balanced, paired and split by subject; published files give the same type."""

import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from workbench.data.examples import ConceptError
from workbench.data.sentiment import load_sentiment
from workbench.data.statements import Statement, families, load_statements, split_groups, statements

LEAST = {"cities": 240, "larger_than": 200, "smaller_than": 200, "translations": 120, "elements": 80, "animals": 100}


def words(chosen: list[Statement]) -> Counter[str]:
    return Counter(word for one in chosen for word in re.findall(r"\w+", one.text.lower()))


@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("family", families())
def test_labels_are_balanced_in_every_group_and_use_the_same_words(family: str, negated: bool) -> None:
    made = statements(family, negated)
    assert len(made) >= LEAST[family]
    assert len({one.text for one in made}) == len(made)
    truth = {group: sorted(one.true for one in made if one.group == group) for group in {one.group for one in made}}
    assert set(map(tuple, truth.values())) == {(False, True)}
    assert words([one for one in made if one.true]) == words([one for one in made if not one.true])


@pytest.mark.parametrize("family", families())
def test_a_negation_is_paired_with_its_statement_and_has_the_other_label(family: str) -> None:
    plain = {one.pair: one for one in statements(family)}
    negated = {one.pair: one for one in statements(family, negated=True)}
    assert plain.keys() == negated.keys()
    for pair, one in plain.items():
        assert negated[pair].true == (not one.true)
        assert negated[pair].group == one.group
        assert negated[pair].family == f"neg_{one.family}"
        assert " not " in negated[pair].text
        assert " not " not in one.text


def test_what_is_known_to_be_true_is_labelled_so() -> None:
    label = {one.text: one.true for family in families() for one in (*statements(family), *statements(family, True))}
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
        for one in statements(family):
            first, second = (value(word) for word in re.split(r" is (?:larger|smaller) than ", one.text.rstrip(".")))
            assert one.true == (first > second if family == "larger_than" else first < second)


def test_statements_are_the_same_every_time() -> None:
    assert statements("cities")[:3] == (
        Statement("The city of Lyon is in France.", True, "cities", "Lyon", "cities: Lyon, France"),
        statements("cities")[1],
        Statement("The city of Marseille is in France.", True, "cities", "Marseille", "cities: Marseille, France"),
    )
    # Written down once: other numbers mean that the false statements were dealt out in another way.
    assert statements("cities")[1].text == "The city of Lyon is in Germany."
    assert statements("larger_than")[0].text == "Twenty is larger than twenty-five."


def test_no_group_crosses_the_split_and_families_of_one_subject_are_cut_alike() -> None:
    cities, negated = statements("cities"), statements("cities", negated=True)
    parts = split_groups((*cities, *negated), seed=0)
    groups = [{one.group for one in part} for part in parts]
    assert not any(one & other for one, other in combinations(groups, 2))
    assert sum(map(len, parts)) == len(cities) + len(negated)
    assert [len(part) / (len(cities) + len(negated)) for part in parts] == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    assert [sum(one.true for one in part) * 2 for part in parts] == [len(part) for part in parts]
    alone = split_groups(negated, seed=0)
    assert [{one.group for one in part} for part in alone] == groups
    assert split_groups(cities, seed=1) != split_groups(cities, seed=0)
    larger, smaller = (split_groups(statements(family), seed=3) for family in ("larger_than", "smaller_than"))
    for one, other in zip(larger, smaller, strict=True):
        assert {each.group for each in one} == {each.group for each in other}


def test_shares_may_be_zero_and_must_sum_to_one() -> None:
    train, validation, test = split_groups(statements("animals"), 0, (0.5, 0.0, 0.5))
    assert (len(train), len(validation), len(test)) == (60, 0, 60)
    with pytest.raises(ConceptError, match="sum to 1"):
        split_groups(statements("animals"), 0, (0.5, 0.2, 0.2))


def test_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(ConceptError, match=r"no family 'towns'.*cities"):
        statements("towns")


def test_a_published_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "neg_cities.csv"
    path.write_text(
        'statement,label,city,country\n"Rome is not in Italy.",0,Rome,Italy\nRome is not in Spain.,1,Rome,Spain\n'
    )
    assert load_statements(path) == (
        Statement("Rome is not in Italy.", False, "neg_cities", "Rome", "cities: Rome, Italy"),
        Statement("Rome is not in Spain.", True, "neg_cities", "Rome", "cities: Rome, Spain"),
    )


def test_both_orders_of_two_numbers_are_one_group_and_two_pairs(tmp_path: Path) -> None:
    path = tmp_path / "larger_than.csv"
    path.write_text("statement,label,n1,n2\nTwo is larger than one.,1,2,1\nOne is larger than two.,0,1,2\n")
    first, second = load_statements(path)
    assert first.group == second.group == "1 2"
    assert first.pair != second.pair


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("statement\nA.\n", "no column label"),
        ("statement,label\nA.,yes\n", "line 2 has label 'yes'"),
        ("statement,label\nA.,1\n,1\n", "line 3 has an empty statement"),
        ("statement,label,city,country\nA.,1,Rome\n", "line 2 has an empty country"),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(ConceptError, match=message):
        load_statements(path)


def test_sentiment_in_both_published_layouts(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('label\tsentence\n1\ta "fine film\n0\tdull . \n')
    first, second = load_sentiment(path)
    assert (first.text, first.true, first.family) == ('a "fine film', True, "sst2")
    assert (second.text, second.true) == ("dull .", False)
    path.write_text("label\tcontent\n0\tdull .\n")
    assert load_sentiment(path) == (second,)
    path.write_text("label\ttext\n0\tdull .\n")
    with pytest.raises(ConceptError, match="no column sentence or content"):
        load_sentiment(path)
    path.write_text("label\tsentence\n2\tdull .\n")
    with pytest.raises(ConceptError, match="line 2 has label '2'"):
        load_sentiment(path)


def test_the_published_truth_files(shared_data: Path) -> None:
    folder = shared_data / "geometry_of_truth"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    cities, negated = (load_statements(folder / f"{name}.csv") for name in ("cities", "neg_cities"))
    assert len(cities) == len(negated) == 1496
    assert {one.pair: one.true for one in cities} == {one.pair: not one.true for one in negated}
    assert len({one.group for one in cities}) < 1000
    spanish = load_statements(folder / "sp_en_trans.csv")
    assert all(len(one.group.split()) == 1 for one in spanish)
    assert {one.pair for one in spanish} == {one.pair for one in load_statements(folder / "neg_sp_en_trans.csv")}
    numbers = load_statements(folder / "larger_than.csv")
    assert Counter(Counter(one.group for one in numbers).values()).keys() == {2}


def test_the_published_sentiment_file(shared_data: Path) -> None:
    path = shared_data / "sst2" / "dev.tsv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    dev = load_sentiment(path)
    assert len(dev) == 872
    assert sum(one.true for one in dev) == 444


def test_groups_keep_the_order_of_statements_within_a_part() -> None:
    made = statements("elements")
    for part in split_groups(made, seed=5):
        places = [made.index(one) for one in part]
        assert all(one < other for one, other in pairwise(places))
