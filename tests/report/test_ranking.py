import pytest

from workbench.report.estimate import Estimate
from workbench.report.ranking import ranks


@pytest.mark.parametrize(
    ("estimates", "better", "expected"),
    [
        ([Estimate(0.9, 0.8, 1.0), Estimate(0.8), Estimate(0.79)], "higher", ["best", "near", ""]),
        ([Estimate(0.9, 0.8, 1.0), Estimate(0.8, 0.7, 0.9), None], "lower", ["near", "best", ""]),
        ([Estimate(0.9), Estimate(0.8)], "higher", ["best", ""]),
        ([Estimate(0.9), Estimate(0.9)], "higher", ["", ""]),
        ([Estimate(0.9), None], "higher", ["", ""]),
        ([Estimate(0.9), Estimate(0.8)], None, ["", ""]),
        ([], "higher", []),
        ([Estimate(0.1 + 0.2), Estimate(0.3), Estimate(0.1)], "higher", ["best", "best", ""]),
        ([Estimate(0.9, n=6), Estimate(0.8, n=10)], "higher", ["", ""]),
    ],
)
def test_ranks(estimates, better, expected):
    assert ranks(estimates, better) == expected


def test_of_equal_best_ones_the_widest_reach_counts():
    found = ranks([Estimate(0.9, 0.85, 0.95), Estimate(0.9, 0.6, 1.0), Estimate(0.7)], "higher")
    assert found == ["best", "best", "near"]
