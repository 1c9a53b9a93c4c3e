"""The cost model prints what its page shows, and its page states every assumption."""

import re
from pathlib import Path

import pytest

from benchmarks import cluster_cost as cost

PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()


def test_the_page_shows_what_the_command_prints(capsys):
    cost.main()
    assert capsys.readouterr().out.strip() in PAGE


def test_the_page_states_every_assumption():
    source = Path(cost.__file__).read_text()
    names = re.findall(r"^([A-Z_]+) = (?:[\d(]|2 \*|10 \*|4 \*)", source, flags=re.MULTILINE)
    derived = {"GPUS", "HOUR", "BLOCK_PARAMETERS"}
    assert len(names) > 30
    for name in set(names) - derived:
        (stated,) = re.findall(rf"^\| {name} \| ([\d.e+,-]+) \|", PAGE, flags=re.MULTILINE)
        assert float(stated.replace(",", "")) == pytest.approx(getattr(cost, name), rel=1e-4), name


def test_reading_by_hand():
    stage = cost.reading()
    tokens = (16_000 * 149 + 216) * 90
    assert stage.n_bytes == tokens * 3584 * 2
    assert stage.flops == pytest.approx(tokens * 2 * 21 * (9.24e9 - 256_000 * 3584) / 42)


def test_work_adds_up_and_more_gpus_are_never_slower():
    assert cost.generations(14) == 16_000 * 3 * 140
    for stage in (cost.reading(), cost.fitting(), cost.training(), cost.generating(14), cost.judging(14)):
        walls = [stage.wall_s(n) for n in (1, 8, 64)]
        assert walls == sorted(walls, reverse=True)
        assert walls[0] >= stage.gpu_s
        assert walls[2] >= stage.gpu_s / 64


def test_a_decoding_step_takes_what_binds_it():
    assert cost.step_s(1, 100) == cost.STEP_S  # launching
    many = cost.step_s(1000, 1000)  # the cache
    assert many == pytest.approx((9.24e9 * 2 + 1e6 * cost.CACHE_BYTES) / (3.35e12 * 0.6))
