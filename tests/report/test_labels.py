import random
from itertools import combinations, pairwise

import pytest

from workbench.report.labels import Box, beside, spread


def test_heights_that_fit_stay():
    assert spread([10.0, 50.0, 90.0], 16, 0, 100) == [10.0, 50.0, 90.0]


def test_heights_that_clash_move_apart_around_their_mean():
    assert spread([50.0, 50.0], 16, 0, 100) == [42.0, 58.0]


@pytest.mark.parametrize("seed", range(20))
def test_spread_keeps_order_distance_and_frame(seed):
    draw = random.Random(seed)
    wanted = [draw.uniform(-20, 220) for _ in range(12)]
    heights = spread(wanted, 16, 0, 200)
    placed = sorted(heights)
    assert all(above - below >= 16 - 1e-9 for below, above in pairwise(placed))
    assert placed[0] >= -1e-9
    assert placed[-1] <= 200 + 1e-9
    assert [wanted.index(w) for w in sorted(wanted)] == [heights.index(h) for h in placed]


def test_more_than_fit_overflow_upward_rather_than_overlap():
    assert spread([0.0] * 4, 16, 0, 20) == [0.0, 16.0, 32.0, 48.0]


def test_overlap_of_boxes():
    assert Box(0, 0, 2, 2).overlap(Box(1, 1, 3, 3)) == 1
    assert Box(0, 0, 1, 1).overlap(Box(2, 0, 3, 1)) == 0


def test_labels_of_one_place_avoid_each_other():
    first, second = beside([(50.0, 50.0)] * 2, [40.0] * 2, 13, [], Box(0, 0, 200, 100))
    assert first.overlap(second) == 0


def test_labels_avoid_points_each_other_and_the_edge():
    points = [(50.0, 50.0), (58.0, 52.0), (190.0, 95.0)]
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    frame = Box(0, 0, 200, 100)
    placed = beside(points, [40.0] * 3, 13, taken, frame)
    assert all(a.overlap(b) == 0 for a, b in combinations(placed, 2))
    assert all(label.overlap(box) == 0 for label in placed for box in taken)
    assert all(label.overlap(frame) == label.area for label in placed)
