import itertools
import random

import numpy as np
import pytest

from workbench.evaluation.intervals import Interval, paired_difference
from workbench.runs.errors import DamagedFile, RunError
from workbench.runs.files import write_sealed, write_text
from workbench.runs.rows import Row, merged, read_rows, spread, write_rows


def row(value: float | None = 0.5, **settings) -> Row:
    return Row(**({"experiment": "axbench", "method": "diffmean", "metric": "auroc", "value": value} | settings))


def many() -> list[Row]:
    concepts, layers, strengths, seeds = (None, "rain", "sea"), (None, 0, 12), (None, 0.0, 0.5), (None, 0, 1)
    settings = itertools.product(concepts, layers, strengths, seeds)
    return [row(concept=c, layer=layer, strength=s, seed=seed, n=3) for c, layer, s, seed in settings]


def test_rows_come_back_equal_and_sorted_with_the_missing_first(tmp_path):
    rows = many()
    write_rows(tmp_path / "results.json", rows)
    assert set(read_rows(tmp_path / "results.json")) == set(rows)
    assert read_rows(tmp_path / "results.json")[0] == row(n=3)


def test_the_bytes_depend_on_nothing_but_the_rows(tmp_path):
    rows = many()
    shuffled = random.Random(0).sample(rows, len(rows)) + rows[:5]
    write_rows(tmp_path / "a.json", rows)
    write_rows(tmp_path / "b.json", shuffled)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_missing_value_stays_missing_and_zero_stays_zero(tmp_path):
    write_rows(tmp_path / "results.json", [row(None, n=0), row(0.0, layer=0, seed=0, strength=0.0)])
    missing, zero = read_rows(tmp_path / "results.json")
    assert (missing.value, missing.n, missing.layer) == (None, 0, None)
    assert (zero.value, zero.layer, zero.seed, zero.strength) == (0.0, 0, 0, 0.0)


def test_no_rows_are_an_empty_list(tmp_path):
    write_rows(tmp_path / "results.json", [])
    assert read_rows(tmp_path / "results.json") == ()


def test_numbers_of_all_types_give_the_same_bytes(tmp_path):
    write_rows(tmp_path / "a.json", [row(1.0, low=0.5, strength=1.0)])
    write_rows(tmp_path / "b.json", [row(1, low=np.float64(0.5), strength=1)])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("name", ["value", "low", "high", "strength"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_by_name(name, number):
    with pytest.raises(RunError, match=f"{name} of auroc of diffmean is {number}; a missing number is None"):
        row(**{name: number})


def test_an_interval_fills_the_fields_of_a_row():
    assert row(**spread(Interval(0.5, 0.25, 0.75, 10, 2, 0.95))) == row(0.5, low=0.25, high=0.75, n=10)
    assert row(**spread(Interval(None, None, None, 0, 3, 0.95))) == row(None, n=0)
    assert spread(paired_difference(np.ones(3), np.zeros(3))) == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 3}
    assert [spread(alone) for alone in (0.0, None)] == [{"value": 0.0}, {"value": None}]


def test_two_answers_to_one_question_are_an_error():
    assert merged([row(0.5)], [row(0.5), row(0.6, seed=1)]) == (row(0.5), row(0.6, seed=1))
    with pytest.raises(RunError, match=r"two results for one question: .*value=0\.5.* and .*value=0\.6"):
        merged([row(0.5)], [row(0.6)])


@pytest.mark.parametrize("value", [{"a": 1}, [1], [{"method": "x"}], [{"nonsense": 1}], 3])
def test_a_file_of_something_else_is_named_with_the_remedy(tmp_path, value):
    write_sealed(tmp_path / "results.json", value)
    with pytest.raises(
        DamagedFile, match=r"results\.json holds something else than rows .*: run the same command again"
    ):
        read_rows(tmp_path / "results.json")


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-20], lambda text: text.replace("rain", "raim", 1), lambda _: "[]"]
)
def test_a_file_that_is_not_as_it_was_written_is_named_with_the_remedy(tmp_path, damage):
    write_rows(tmp_path / "results.json", many())
    write_text(tmp_path / "results.json", damage((tmp_path / "results.json").read_text()))
    with pytest.raises(
        DamagedFile, match=r"results\.json is damaged, edited or of an earlier .*: run the same command"
    ):
        read_rows(tmp_path / "results.json")
