import importlib
import json
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from experiments.linear_origins import PRESETS, RECORDS, Config, run
from experiments.linear_origins.measures import alignment, by_chance, excess, matched_differences, measure_tables
from experiments.linear_origins.report import build_report
from experiments.linear_origins.study import Found, Setting, rows, settings
from experiments.linear_origins.training import Tables, cross_entropy, train_tables
from experiments.linear_origins.world import UNKNOWN, conditional, entropy, joint, matched, partial_assignments, tokens
from workbench.report.blocks import Paragraphs, Table
from workbench.report.document import Document
from workbench.runs.run import Run


def world(m: int, seed: int = 0) -> np.ndarray:
    return conditional(joint(m, "independent", np.random.default_rng(seed)), m)


def solution(m: int, d: int, seed: int = 0, sure: float = 20.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tables that solve an independent world but for exp(-2 sure), turned by a random rotation, and its p."""
    probability = joint(m, "independent", np.random.default_rng(seed))
    values, told = tokens(m), partial_assignments(m)
    chance = probability @ values  # [concept]
    f = np.where(told == UNKNOWN, np.log(chance / (1 - chance)) / 2, np.where(told == 1, sure, -sure))
    turn = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(d, d)))[0]
    wide = [np.pad(table, ((0, 0), (0, d - m))) @ turn for table in (f, 2.0 * values - 1)]
    return wide[0], wide[1], conditional(probability, m)


def trained(p: np.ndarray, seeds: tuple[int, ...], d: int, steps: int = 200, **changes) -> Tables:
    how = {"optimiser": "adam", "init": 0.1, "weight_decay": 0.0, "learning_rate": 0.01, "records": 4} | changes
    return train_tables(p, seeds, d, steps=steps, **how)


@pytest.mark.parametrize(("m", "d"), [(2, 2), (3, 3), (3, 6), (5, 5)])
def test_the_planted_solution_has_no_excess_and_is_linear(m, d):
    f, g, p = solution(m, d)
    assert excess(f, g, p) == pytest.approx(0, abs=1e-9)
    found = measure_tables(f, g, m)
    assert found["unembed.within"] == pytest.approx(1)
    assert found["embed.within"] == pytest.approx(1)
    assert found["align.same"] == pytest.approx(1)
    assert [found[name] for name in ("unembed.across", "embed.across", "align.other")] == pytest.approx([0, 0, 0])


def test_shuffled_tokens_are_seen_to_be_neither_near_the_floor_nor_linear():
    f, g, p = solution(4, 4)
    shuffled = np.random.default_rng(0).permutation(g)
    assert excess(f, shuffled, p) > 0.1
    assert measure_tables(f, shuffled, 4)["unembed.within"] < 0.5


@pytest.mark.parametrize("dependence", ["independent", "chain"])
def test_the_next_token_follows_what_the_context_tells(dependence):
    m = 3
    probability = joint(m, dependence, np.random.default_rng(3))
    p = conditional(probability, m)
    assert probability.sum() == pytest.approx(1)
    for context, told in enumerate(partial_assignments(m)):
        kept = [all(t in (UNKNOWN, v) for t, v in zip(told, token, strict=True)) for token in tokens(m)]
        weight = [chance if keep else 0.0 for chance, keep in zip(probability, kept, strict=True)]
        np.testing.assert_allclose(p[context], np.array(weight) / sum(weight))


def test_concepts_depend_on_each_other_in_a_chain_only():
    values = tokens(2)

    def dependence_of(probability: np.ndarray) -> float:
        both, either = probability[values.all(1)].sum(), probability @ values
        return abs(both - either[0] * either[1])

    rng = np.random.default_rng
    assert dependence_of(joint(2, "independent", rng(0))) == pytest.approx(0, abs=1e-12)
    assert max(dependence_of(joint(2, "chain", rng(seed))) for seed in range(5)) > 0.02


def test_the_floor_is_the_entropy():
    m, p = 4, world(4)
    by_hand = [-sum(q * np.log(q) for q in row if q > 0) for row in p]
    assert entropy(p) == pytest.approx(np.mean(by_hand))
    uniform = excess(np.zeros((3**m, 2)), np.zeros((2**m, 2)), p)
    assert uniform == pytest.approx(m * np.log(2) - entropy(p))


def test_the_loss_that_is_trained_is_the_floor_and_the_excess():
    p = world(3)
    f, g = (np.random.default_rng(1).normal(size=(n, 4)) for n in (27, 8))
    loss = float(cross_entropy(Tables(f, g), p))  # pyright: ignore[reportArgumentType]
    assert loss == pytest.approx(entropy(p) + excess(f, g, p), rel=1e-5)


@pytest.mark.parametrize("values", [tokens(3), partial_assignments(3)])
def test_a_matched_pair_differs_in_its_concept_alone(values):
    pairs = matched(values)
    assert pairs.shape == (3, len(values) // len(np.unique(values)), 2)
    for concept, (up, down) in ((i, pair) for i in range(3) for pair in pairs[i]):
        assert (values[up, concept], values[down, concept]) == (1, 0)
        assert (np.delete(values[up], concept) == np.delete(values[down], concept)).all()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_measures_are_what_they_are_called():
    m, d = 3, 4
    f, g = (np.random.default_rng(seed).normal(size=(n, d)) for seed, n in enumerate((27, 8)))
    found = measure_tables(f, g, m)
    in_g, in_f = matched_differences(g, tokens(m)), matched_differences(f, partial_assignments(m))
    within = [np.mean([cosine(a, b) for a, b in combinations(concept, 2)]) for concept in in_g]
    assert found["unembed.within"] == pytest.approx(np.mean(within))
    means = [(in_g[i].mean(0), in_f[i].mean(0)) for i in range(m)]
    across = [abs(cosine(means[i][1], means[j][1])) for i, j in combinations(range(m), 2)]
    assert found["embed.across"] == pytest.approx(np.mean(across))
    assert found["align.same"] == pytest.approx(np.mean([cosine(a, b) for a, b in means]))
    other = [abs(cosine(means[i][0], means[j][1])) for i, j in product(range(m), repeat=2) if i != j]
    assert found["align.other"] == pytest.approx(np.mean(other))
    assert alignment(f, g, m)[0, 2] == pytest.approx(cosine(means[0][0], means[2][1]))


def test_chance_is_what_random_directions_have():
    rng = np.random.default_rng(0)
    for d in (2, 5):
        pairs = rng.normal(size=(20000, 2, d))
        pairs /= np.linalg.norm(pairs, axis=-1, keepdims=True)
        assert by_chance(d) == pytest.approx(np.abs((pairs[:, 0] * pairs[:, 1]).sum(-1)).mean(), rel=0.02)


@pytest.mark.parametrize("optimiser", ["adam", "momentum"])
def test_a_seed_among_others_equals_it_alone(optimiser):
    p = np.stack([world(3, seed) for seed in range(4)])
    together = trained(p, (0, 1, 2, 3), 4, optimiser=optimiser)
    alone = trained(p[2:3], (2,), 4, optimiser=optimiser)
    for many, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(many[2], one[0], atol=1e-4)
    assert not np.allclose(together.g[2], together.g[1], atol=1e-2)


def test_training_equals_steps_taken_one_by_one_with_optax():
    import jax
    import optax

    p = world(2)
    recorded = trained(p[None], (0,), 2, steps=8, weight_decay=0.1)
    tables = Tables(recorded.f[0, 0], recorded.g[0, 0])
    adam = optax.adamw(0.01, weight_decay=0.1)
    state = adam.init(tables)  # pyright: ignore[reportArgumentType]
    for _ in range(8):
        gradient = jax.grad(cross_entropy)(tables, p)
        updates, state = adam.update(gradient, state, tables)  # pyright: ignore[reportArgumentType]
        tables = Tables(*optax.apply_updates(tables, updates))  # pyright: ignore
    np.testing.assert_allclose(recorded.f[0, -1], tables.f, atol=1e-5)
    np.testing.assert_allclose(recorded.g[0, -1], tables.g, atol=1e-5)


def test_in_more_dimensions_than_concepts_pairs_scatter_while_means_stay_aligned():
    m, seeds = 2, (0, 1, 2)
    p = np.stack([world(m, seed) for seed in seeds])

    def cosines(d: int) -> dict[str, np.ndarray]:
        tables = trained(p, seeds, d, steps=2000)
        f, g = (np.asarray(table[:, -1], np.float64) for table in tables)
        assert max(excess(f[seed], g[seed], p[seed]) for seed in seeds) < 1e-3
        every = [measure_tables(f[seed], g[seed], m) for seed in seeds]
        return {name: np.array([one[name] for one in every]) for name in every[0]}

    narrow, wide = cosines(m), cosines(3 * m)
    for table in ("unembed", "embed"):
        assert narrow[f"{table}.within"].min() > 0.99
        assert wide[f"{table}.within"].max() < 0.9
        assert wide[f"{table}.across"].max() < by_chance(3 * m) / 2
    assert wide["align.same"].min() > 0.97
    assert wide["align.other"].max() < by_chance(3 * m) / 2


def test_steps_that_cannot_be_recorded_evenly_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        trained(world(2)[None], (0,), 2, steps=6)


def planted(limit: float = 1e-3) -> Found:
    """Three seeds, of which the second is stuck, with a cosine of 1 where the others have 0.5."""
    course = np.linspace(0, 1, RECORDS + 1)
    values = {name: np.outer([0.5, 1.0, 0.5], course) for name in measure_tables(*solution(2, 2)[:2], 2)}
    setting = Setting(2, 2, "independent", "adam", 0.1, 0.0)
    losses = np.stack([np.geomspace(1, last, RECORDS + 1) for last in (1e-4, 0.05, 2e-4)])
    return Found(setting, limit, 1.0, losses, values, np.ones((3, 2, 2)))


def test_a_stuck_seed_is_counted_and_left_out():
    found = planted()
    assert found.converged.tolist() == [True, False, True]
    by_metric = {(row.metric, row.seed): row for row in rows(found)}
    assert by_metric["converged", None].value == pytest.approx(2 / 3)
    assert by_metric["excess", 1].value == pytest.approx(0.05)
    assert (by_metric["unembed.within", None].value, by_metric["unembed.within", None].n) == (0.5, 2)


def test_nothing_is_claimed_where_no_seed_converged(tmp_path):
    config = Config(concepts=(2,), seeds=3)
    with Run.open("linear_origins", config, tmp_path) as opened:
        made = build_report(opened, config, [planted(limit=1e-9)])
    said, table = made.sections[1].blocks
    assert isinstance(said, Paragraphs)
    assert "none of 3 seeds converged, and nothing is claimed" in said.texts[0]
    assert isinstance(table, Table)
    assert len(made.sections) == 2
    assert {row.value for row in rows(planted(limit=1e-9)) if row.metric.startswith("embed")} == {None}


def test_settings_are_every_combination_each_with_a_name_of_its_own():
    config = Config(extra=(0, 5), init=(0.1, 0.001), weight_decay=(0.0, 0.01), optimiser=("adam", "momentum"))
    found = settings(config)
    assert len(found) == len({setting.name for setting in found}) == 2 * 2 * 2 * 2 * 2
    assert Setting(5, 10, "independent", "momentum", 0.001, 0.01) in found
    assert found[0].name == "m3-d3-independent-adam-init0.1-decay0"


@pytest.mark.parametrize(
    "changes", [{"concepts": ()}, {"concepts": (9,)}, {"steps": 30}, {"seeds": 0}, {"init": (0.0,)}]
)
def test_a_configuration_that_makes_no_sense_is_refused(changes):
    with pytest.raises(ValueError, match=r"; expected|multiple"):
        Config(**changes)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(PRESETS["smoke"], tmp_path_factory.mktemp("runs"))


def test_prediction_alone_makes_concepts_linear_where_it_converges(smoke):
    row = {each.metric: each for each in Run.load(smoke).rows() if each.seed is None}
    n = row["unembed.within"].n or 0
    assert 2 <= n <= 6
    value = {metric: -1.0 if each.value is None else each.value for metric, each in row.items()}
    assert value["converged"] == pytest.approx(n / 6)
    assert value["unembed.within"] > 0.9
    assert value["align.same"] > 0.9
    assert 0 <= value["unembed.across"] < by_chance(3) / 2


def test_the_report_is_written_and_tables_are_not_linear_before_training(smoke):
    (table,) = (block for block in Document.load(smoke).sections[1].blocks if isinstance(block, Table))
    after, before = (cells[0] for _, cells in table.rows)
    assert after.value > 0.9  # pyright: ignore
    assert abs(before.value) < 0.5  # pyright: ignore
    assert (smoke / "report.html").exists()
    text = (smoke / "report.md").read_text(encoding="utf-8")
    assert "seeds converged" in text
    assert f"python -m experiments.linear_origins --config {smoke.parent.name}/{smoke.name}/config.json" in text


def test_importing_the_command_does_not_run_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["linear_origins", "--help"])
    importlib.import_module("experiments.linear_origins.__main__")


def test_a_second_run_trains_nothing_and_says_the_same(smoke, monkeypatch):
    import experiments.linear_origins.study as module

    before = (smoke / "report.json").read_bytes()
    monkeypatch.setattr(module, "train_tables", None)
    assert run(PRESETS["smoke"], smoke.parent) == smoke
    assert (smoke / "report.json").read_bytes() == before


def test_the_command_prints_its_paths_and_starts_without_jax(tmp_path):
    code = "import sys; from experiments.linear_origins import Config; print(json.dumps([m in sys.modules for m in M]))"
    code = f"import json; M = ['torch', 'jax']; {code}"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(told.stdout) == [False, False]
    flags = ["--concepts", "2", "--seeds", "2", "--steps", "40", "--root", str(tmp_path)]
    command = [sys.executable, "-m", "experiments.linear_origins", *flags]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert Path(lines[-1]).parent == tmp_path
    assert Path(lines[-2]) == Path(lines[-1]) / "report.html"
    assert Path(lines[-2]).exists()
