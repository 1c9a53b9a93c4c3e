"""One setting of the simulation: train all seeds together, see which reached the floor, and measure those."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from experiments.linear_origins.config import NAME, RECORDS, Config
from experiments.linear_origins.measures import alignment, excess, measure_tables
from experiments.linear_origins.training import Optimiser, train_tables
from experiments.linear_origins.world import Dependence, conditional, entropy, joint
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.report.estimate import Estimate
from workbench.runs.files import plain
from workbench.runs.rows import Row, spread
from workbench.runs.run import Run


@dataclass(frozen=True)
class Setting:
    """What is trained; `m` concepts in `d` dimensions."""

    m: int
    d: int
    dependence: Dependence
    optimiser: Optimiser
    init: float
    weight_decay: float

    @property
    def name(self) -> str:
        """Its name in rows and units."""
        how = f"{self.dependence}-{self.optimiser}-init{self.init:g}-decay{self.weight_decay:g}"
        return f"m{self.m}-d{self.d}-{how}"


@dataclass(frozen=True, eq=False)
class Found:
    """What came of a setting: `excess` in nats and every one of `measures` are [seed, record], from step 0 on."""

    setting: Setting
    limit: float
    entropy: float
    """The least loss there is, mean over seeds, in nats."""
    excess: np.ndarray
    measures: dict[str, np.ndarray]
    cross: np.ndarray
    """Cosines of a concept's mean difference in g with another's in f, after training, [seed, concept, concept]."""

    @property
    def converged(self) -> np.ndarray:
        """Which seeds reached the floor, [seed]."""
        return self.excess[:, -1] <= self.limit

    def interval(self, name: str, record: int = -1) -> Interval:
        """The mean of a measure over the converged seeds with its bootstrap interval; no value when there are none."""
        return bootstrap(self.measures[name][self.converged, record], bounds=(-1.0, 1.0))

    def estimate(self, name: str, record: int = -1) -> Estimate | None:
        """The interval as a cell of a table; None when no seed converged."""
        return Estimate.of(self.interval(name, record))


def settings(config: Config) -> list[Setting]:
    """Every combination that the configuration asks for."""
    tables = product(config.concepts, config.extra, config.dependence)
    ways = list(product(config.optimiser, config.init, config.weight_decay))
    return [
        Setting(m, m + extra, dependence, optimiser, init, weight_decay)
        for m, extra, dependence in tables
        for optimiser, init, weight_decay in ways
    ]


def study(run: Run, config: Config, setting: Setting) -> Found:
    """Train and measure one setting, as one unit of the run."""
    trained = {"seeds": config.seeds, "steps": config.steps, "rate": _rate(config, setting), "records": RECORDS}
    inputs = {"setting": plain(setting), "training": trained, "version": 1}
    stored = run.unit(setting.name, inputs, lambda: _measured(config, setting))
    measures = {name: np.array(values) for name, values in stored["measures"].items()}
    arrays = {name: np.array(stored[name]) for name in ("excess", "cross")}
    return Found(setting, config.converged, stored["entropy"], measures=measures, **arrays)


def rows(found: Found) -> Iterator[Row]:
    """The excess of every seed, the share that converged, and each measure over the converged ones."""
    name, n = found.setting.name, len(found.excess)
    yield Row(experiment=NAME, method=name, metric="converged", value=float(found.converged.mean()), n=n)
    for seed, value in enumerate(found.excess[:, -1]):
        yield Row(experiment=NAME, method=name, metric="excess", value=float(value), seed=seed)
    for metric in found.measures:
        yield Row(experiment=NAME, method=name, metric=metric, **spread(found.interval(metric)))


def _rate(config: Config, setting: Setting) -> float:
    return config.adam_rate if setting.optimiser == "adam" else config.momentum_rate


def _measured(config: Config, setting: Setting) -> dict[str, object]:
    m, seeds = setting.m, tuple(range(config.seeds))
    p = np.stack([conditional(joint(m, setting.dependence, np.random.default_rng(seed)), m) for seed in seeds])
    tables = train_tables(
        p,
        seeds,
        setting.d,
        optimiser=setting.optimiser,
        init=setting.init,
        weight_decay=setting.weight_decay,
        learning_rate=_rate(config, setting),
        steps=config.steps,
        records=RECORDS,
    )
    f, g = (np.asarray(table, np.float64) for table in tables)  # [seed, record, row, d]
    records = range(RECORDS + 1)
    looked = [[measure_tables(f[seed, record], g[seed, record], m) for record in records] for seed in seeds]
    return {
        "entropy": float(np.mean([entropy(each) for each in p])),
        "excess": [[excess(f[seed, record], g[seed, record], p[seed]) for record in records] for seed in seeds],
        "measures": {name: [[each[name] for each in seed] for seed in looked] for name in looked[0][0]},
        "cross": [alignment(f[seed, -1], g[seed, -1], m).tolist() for seed in seeds],
    }
