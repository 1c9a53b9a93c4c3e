from tests.report.synthetic import row
from workbench.evaluation.intervals import Interval
from workbench.report.estimate import Estimate, counts


def test_estimates_say_what_they_know():
    assert Estimate(0.934, 0.88, 0.97, 10).said(2) == "0.93 [0.88, 0.97] n = 10"
    assert Estimate(0.934, None, None, 10).said(2) == "0.93 n = 10"
    assert Estimate(0.934, None, None, None).said(2) == "0.93"
    assert Estimate(0.0, None, None, 8, "no interval").said(2) == "0.00 n = 8 (no interval)"


def test_an_interval_is_an_estimate_and_a_missing_one_is_none():
    assert Estimate.of(Interval(0.5, 0.25, 0.75, 10, 2, 0.95)) == Estimate(0.5, 0.25, 0.75, 10)
    assert Estimate.of(Interval(0.0, None, None, 1, 0, 0.95)) == Estimate(0.0, None, None, 1)
    assert Estimate.of(row("probe", "m", 0.9, 0.05, n=10)) == Estimate(0.9, 0.9 - 0.05, 0.9 + 0.05, 10)
    assert Estimate.of(Interval(None, None, None, 0, 3, 0.95)) is None
    assert Estimate.of(Interval(1.0, 0.9, 1.0, 9, 0, 0.95, "wide")) == Estimate(1.0, 0.9, 1.0, 9, "wide")
    assert Estimate.of(None) is None


def test_counts():
    assert counts([Estimate(0.0, None, None, n) for n in (10, 8, None)]) == "n = 8 to 10"
    assert counts([Estimate(0.0, None, None, 10)]) == "n = 10"
    assert counts([Estimate(0.0, None, None, None)]) == "n not recorded"
