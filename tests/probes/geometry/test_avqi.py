"""AVQI on planted clusters, beside a plain version of its formula, and its intervals."""

import numpy as np
import pytest
import torch

from probes.geometry.avqi import METRICS, ONE_SIDED, Avqi, avqi, avqi_intervals, cluster_indices
from workbench.data.items import DataError
from workbench.data.safety import ROLES

N, D = 200, 16


def planted(safe: float, unsafe: float, jailbreak: float, sd: float = 1.0, n: int = N) -> dict[str, torch.Tensor]:
    """Gaussians of that spread around places on one axis, in float64."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for role, place in (("safe", safe), ("unsafe", unsafe), ("jailbreak", jailbreak)):
        found[role] = sd * torch.randn(n, D, generator=generator, dtype=torch.float64)
        found[role][:, 0] += place
    return found


PLANTED = {
    "camouflaged": planted(0, 10, 0),
    "apart": planted(0, 10, 20),
    "ideal": planted(0, 10, 10),
    "tight": planted(0, 10, 10, sd=0.1),
}


def plain(states: dict[str, torch.Tensor]) -> dict[str, float]:
    """The formulas as they are written, pair by pair."""
    x = {role: each.numpy() for role, each in states.items()}
    x["adversarial"] = np.concatenate([x["unsafe"], x["jailbreak"]])
    c = {role: each.mean(0) for role, each in x.items()}
    spread = {role: np.linalg.norm(each - c[role], axis=1).mean() for role, each in x.items()}
    diameter = {role: np.linalg.norm(each[:, None] - each[None], axis=2).max() for role, each in x.items()}

    def apart(a: str, b: str) -> float:
        return float(np.linalg.norm(c[a] - c[b]))

    def dbs(a: str, b: str) -> float:
        return apart(a, b) / (spread[a] + spread[b] + 1e-8)

    three = ("safe", "unsafe", "jailbreak")
    least = min(apart(a, b) for k, a in enumerate(three) for b in three[k + 1 :])
    dunn = least / (max(diameter[role] for role in three) + 1e-8)
    dunn_two = apart("safe", "adversarial") / (max(diameter["safe"], diameter["adversarial"]) + 1e-8)
    overlap = (1 / (dbs("safe", "unsafe") + 1e-8) + 1 / (dbs("safe", "jailbreak") + 1e-8)) / 2
    values = (overlap + 1 / (dunn + 1e-8), overlap + 1 / (dunn_two + 1e-8))
    return dict(zip(METRICS, (*values, dbs("safe", "unsafe"), dbs("safe", "jailbreak"), dunn, dunn_two), strict=True))


@pytest.mark.parametrize("name", PLANTED)
def test_every_metric_is_that_of_the_formula(name: str) -> None:
    [found] = avqi(PLANTED[name])
    assert vars(found) == pytest.approx(plain(PLANTED[name]), rel=1e-6)


def test_the_papers_form_ranks_the_methods_own_aim_with_camouflage_and_the_two_cluster_form_does_not() -> None:
    paper = {name: avqi(states)[0].paper for name, states in PLANTED.items()}
    two = {name: avqi(states)[0].two_cluster for name, states in PLANTED.items()}
    # Twenty draws of this seed's kind lie within a factor of 1.6 of these; the orderings hold in all of them.
    for name, value in (("camouflaged", 25.67), ("apart", 1.65), ("ideal", 21.90), ("tight", 24.14)):
        assert value / 1.6 < paper[name] < value * 1.6, name
    assert paper["apart"] < 0.1 * min(paper["camouflaged"], paper["ideal"], paper["tight"])
    assert two["tight"] < two["ideal"] < 0.2 * two["camouflaged"]
    assert two["apart"] < two["camouflaged"]


def test_the_index_has_no_scale_and_no_place_and_layers_are_apart() -> None:
    one, other = PLANTED["apart"], PLANTED["camouflaged"]
    moved = {role: 50 * each + 7 for role, each in one.items()}
    assert vars(avqi(moved)[0]) == pytest.approx(vars(avqi(one)[0]), rel=1e-6)
    layers = {role: torch.stack([one[role], other[role]]) for role in one}
    for found, states in zip(avqi(layers), (one, other), strict=True):
        assert vars(found) == pytest.approx(vars(avqi(states)[0]), rel=1e-9)


@pytest.mark.parametrize(("far", "offset"), [(10, 1e3), (1e4, 0)])
def test_in_float32_neither_a_common_offset_nor_far_clusters_cost_precision(far: float, offset: float) -> None:
    """Of the float32 states themselves, which are rounded to begin with."""
    states = {role: (each + offset).float() for role, each in planted(0, far, 2 * far).items()}
    [found] = avqi(states)
    assert vars(found) == pytest.approx(plain({role: each.double() for role, each in states.items()}), rel=5e-3)


def test_in_float32_diameters_are_those_that_bfloat16_cannot_tell_from_the_largest() -> None:
    generator = torch.Generator().manual_seed(1)
    states = {role: torch.randn(3, 400, 64, generator=generator) + 30 for role in ("safe", "unsafe", "jailbreak")}
    states["jailbreak"] += 0.5
    for low, high in zip(avqi(states), avqi({role: each.double() for role, each in states.items()}), strict=True):
        assert low.dunn == pytest.approx(high.dunn, rel=4e-3)
        assert low.dbs_jailbreak == pytest.approx(high.dbs_jailbreak, rel=1e-3)


def test_intervals_hold_the_value_and_are_those_of_a_plain_bootstrap() -> None:
    states = planted(0, 3, 6, n=60)
    [found] = avqi_intervals(states, draws=300)
    assert {name: each.value for name, each in found.items()} == pytest.approx(plain(states), rel=1e-6)
    rng = np.random.default_rng(5)
    drawn = [plain({role: each[rows] for role, each in states.items()}) for rows in rng.integers(60, size=(300, 60))]
    for name in METRICS:
        low, high = np.quantile([each[name] for each in drawn], [0.025, 0.975])
        low_found, high_found = found[name].low, found[name].high
        assert low_found is not None
        assert high_found is not None
        value = found[name].value
        assert value is not None
        assert low_found <= value <= high_found
        assert low_found == pytest.approx(max(0, 2 * value - high), abs=0.3 * (high - low))
        assert high_found == pytest.approx(2 * value - low, abs=0.3 * (high - low))


@pytest.mark.parametrize(("n", "d"), [(20, 64), (60, 32)])
def test_intervals_cover_the_truth_where_centroids_are_noisy(n: int, d: int) -> None:
    """DBS of clusters 2 apart whose spread is known; percentiles of the draws cover it in no trial of the first."""
    generator, covered = torch.Generator().manual_seed(0), []
    spread = float(torch.randn(20_000, d, generator=generator).norm(dim=1).mean())
    for trial in range(40):
        x = torch.randn(3, n, d, generator=generator)
        x[1, :, 0] += 2
        x[2, :, 1] += 2
        [found] = avqi_intervals(dict(zip(ROLES, x, strict=True)), draws=100, seed=trial)
        covered += [
            (found[name].low or 0) <= 2 / (2 * spread) <= (found[name].high or 0)
            for name in ("dbs_unsafe", "dbs_jailbreak")
        ]
    assert np.mean(covered) > 0.85


def test_an_interval_on_one_side_of_its_value_says_so_and_none_ends_before_it_begins() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 20, 64, generator=generator) + torch.zeros(3, 1, 64).index_fill(2, torch.tensor([0]), 1.0)
    outside = 0
    for states in (x, planted(0, 3, 6, n=60).values()):
        [found] = avqi_intervals(dict(zip(ROLES, states, strict=True)), draws=100)
        for each in found.values():
            assert each.low is not None
            assert each.value is not None
            assert each.high is not None
            assert 0 <= each.low <= each.high
            assert (each.note == ONE_SIDED) == (not each.low <= each.value <= each.high)
            outside += each.note == ONE_SIDED
    assert outside > 0


def test_triples_of_one_group_are_drawn_together() -> None:
    states = planted(0, 3, 6, n=40)
    twice = {role: each.repeat(2, 1) for role, each in states.items()}
    [alone] = avqi_intervals(states, draws=400)
    [grouped] = avqi_intervals(twice, np.tile(np.arange(40), 2), draws=400)
    [ungrouped] = avqi_intervals(twice, draws=400)

    def width(found: dict) -> float:
        return found["dbs_unsafe"].high - found["dbs_unsafe"].low

    assert grouped["dbs_unsafe"].n == 40
    assert width(grouped) == pytest.approx(width(alone), rel=1e-6)
    assert width(ungrouped) < 0.85 * width(grouped)


def test_the_sibling_indices_see_what_is_apart() -> None:
    apart, mixed = (cluster_indices(PLANTED[name]) for name in ("apart", "camouflaged"))
    assert apart["silhouette"] > mixed["silhouette"] + 0.2
    assert apart["calinski_harabasz"] > 2 * mixed["calinski_harabasz"]
    # Of three clusters at 0, 10 and 20 with 16 unit variances: 16 / 100.
    assert apart["xie_beni"] == pytest.approx(0.16, rel=0.1)


def test_what_cannot_be_measured_is_refused() -> None:
    states = PLANTED["apart"]
    with pytest.raises(DataError, match="of the roles safe, unsafe, jailbreak; got safe"):
        avqi({"safe": states["safe"]})
    with pytest.raises(DataError, match="two triples or more"):
        avqi({role: each[:1] for role, each in states.items()})
    with pytest.raises(DataError, match="not finite"):
        avqi(states | {"safe": states["safe"].index_fill(0, torch.tensor([3]), torch.nan)})
    assert isinstance(avqi(states)[0], Avqi)
