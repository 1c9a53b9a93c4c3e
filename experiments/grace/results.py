"""All that was measured, as rates with intervals and as rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from experiments.grace.config import NAME, Config
from experiments.grace.context import UNDEFENDED
from experiments.grace.measure import MeasuredDefence
from experiments.grace.outcomes import AnswersByGroup, share
from probes.geometry.avqi import METRICS, noted
from steering.grace.attacks import CHOOSING, HELD_OUT, TRAINED
from workbench.evaluation.crossed import bootstrap_crossed
from workbench.evaluation.differences import Difference, holm, paired_difference
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.evaluation.judges.policy import OUTCOMES
from workbench.evaluation.metrics import spearman_correlation
from workbench.evaluation.summary import or_none
from workbench.runs.rows import Row, spread

SIDES: dict[str, tuple[str, ...]] = {
    "direct": ("direct",),
    "trained": TRAINED,
    "choosing": CHOOSING,
    "held_out": HELD_OUT,
}
"""Families that are told of together."""
ADAPTIVE = ("suffix", "embedding", "latent")
"""Searched attacks that know the defence."""
FORMS = ("paper", "two_cluster")
"""Of AVQI."""
LEAST = 8
"""Models without which a rank correlation has no interval."""


Defences = dict[str, tuple[MeasuredDefence, ...]]
"""What was measured of each defence of a model, one a seed."""


@dataclass(frozen=True, eq=False)
class DefenceResults:
    """Everything, by defence."""

    config: Config
    found: Defences
    untaught: AnswersByGroup
    """Of the model before it learnt the policy, to direct and to plain benign requests."""
    places: dict[str, list[tuple[str, str, float, float]]]
    """Centroids before and after GRACE B, where that was trained, of the first seed."""
    others: dict[str, Defences]
    """By further model."""

    @property
    def further(self) -> "dict[str, DefenceResults]":
        """What was measured on each further model."""
        return {name: replace(self, found=found, others={}) for name, found in self.others.items()}

    @property
    def sides(self) -> dict[str, tuple[str, ...]]:
        """The groups of families that were asked."""
        return SIDES | ({"adaptive": ADAPTIVE} if self.config.adaptive else {})

    @property
    def labels(self) -> dict[str, str]:
        """What each defence is called."""
        return {name: seeds[0].arm.label for name, seeds in self.found.items()}

    def rate(self, arm: str, families: Sequence[str], *outcomes: str) -> Interval:
        """The share of answers that comply, or are of one of some outcomes, over requests and seeds: `outcome_rate`."""
        wanted = outcomes or ("compliance",)
        return outcome_rate([[share(one.answers[name], *wanted) for name in families] for one in self.found[arm]])

    def less(self, arm: str, other: str, families: Sequence[str], outcome: str = "compliance") -> Difference:
        """The share of an outcome under one defence less that under another, paired over requests.

        Of each request the mean over families and seeds counts, so that the trainings are taken as they came out.
        """
        mine, theirs = (
            np.mean([share(one.answers[name], outcome) for one in self.found[each] for name in families], axis=0)
            for each in (arm, other)
        )
        return paired_difference(mine, theirs)

    def against_policy(self, families: Sequence[str], outcome: str = "compliance") -> dict[str, Difference]:
        """What each defence adds to a share, but GRACE A, whose answers are the policy's; p is Holm-corrected."""
        arms = [name for name in self.found if name not in (UNDEFENDED, "grace_a")]
        found = [self.less(name, UNDEFENDED, families, outcome) for name in arms]
        corrected = holm(np.array([np.nan if each.p is None else each.p for each in found]))
        return {name: replace(each, p=float(p)) for name, each, p in zip(arms, found, corrected, strict=True)}

    def in_context(self, arm: str) -> Interval:
        """The share of in-context questions that are answered right."""
        return outcome_rate([[np.array(one.in_context)] for one in self.found[arm]])

    def neutral_refused(self, arm: str) -> Interval:
        """The share of neutral texts that a guard refuses."""
        return outcome_rate([[np.array(one.neutral_refused)] for one in self.found[arm]])

    def mean(self, arm: str, what: str) -> Interval:
        """The mean over seeds and texts of `kl` or `loss`, or concepts of `steering`.

        Not geometric: what acts on a condition leaves most texts as they are, and a KL of 0 would outweigh all others.
        """
        values = np.array([getattr(one, what) for one in self.found[arm]], dtype=float)
        return bootstrap_crossed(values, bounds=(0.0, 2.0 if what == "steering" else np.inf))

    def separation(self, arm: str, way: str, metric: str) -> Interval:
        """An index of the states pooled in a way: of one seed over its prompts, of several over the seeds."""
        each = [one.separation[way][metric] for one in self.found[arm]]
        if len(each) == 1:
            value, low, high = each[0]
            return noted(Interval(value, low, high, self.config.asked, 0, 0.95))
        return bootstrap(np.array([np.nan if value is None else value for value, _, _ in each]), bounds=None)

    def cost(self, arm: str) -> float:
        """Mean processor seconds of training and choosing."""
        return float(np.mean([one.arm.seconds for one in self.found[arm]]))

    def followed(self, form: str) -> Interval:
        """Spearman's correlation of an AVQI with held-out attack success, over defences with states of their own.

        Each seed of a defence counts as a model, on every model that was defended; those of one seed share a policy.
        The interval is that of Bonett & Wright (2000), and there is none below LEAST models.
        """
        pairs = [
            (
                one.separation["mean"][form][0],
                float(np.mean([share(one.answers[name], "compliance") for name in HELD_OUT])),
            )
            for defences in (self.found, *self.others.values())
            for name, seeds in defences.items()
            for one in seeds
            if one.separation and (name == UNDEFENDED or one.arm.answers_anew)
        ]
        return correlation_over_models([(index, success) for index, success in pairs if index is not None])

    def rows(self) -> Iterator[Row]:
        """Tidy: every rate of every side and family, side effects, separation and costs."""
        yield from self._of_arms()
        for group, answers in self.untaught.items():
            for outcome in OUTCOMES:
                value = outcome_rate([[share(answers, outcome)]])
                yield Row(experiment=NAME, method="untaught", metric=f"{outcome}.{group}", **spread(value))
        for model, results in self.further.items():
            yield from (replace(row, method=f"{row.method} on {model}") for row in results._of_arms())
        for form in FORMS:
            yield Row(experiment=NAME, method="avqi", metric=f"spearman.{form}", **spread(self.followed(form)))

    def _of_arms(self) -> Iterator[Row]:
        for name in self.found:
            yield from self._of_arm(name)
        for metric, families, outcome in (
            ("compliance.held_out", HELD_OUT, "compliance"),
            ("benign.refusal.plain", ("plain",), "refusal"),
        ):
            for name, found in self.against_policy(families, outcome).items():
                yield Row(experiment=NAME, method=name, metric=f"{metric}.less_policy", **spread(found))

    def _of_arm(self, name: str) -> Iterator[Row]:
        seeds = self.found[name]
        for outcome in OUTCOMES:
            for side, families in self.sides.items():
                value = self.rate(name, families, outcome)
                yield Row(experiment=NAME, method=name, metric=f"{outcome}.{side}", **spread(value))
                for family in families if len(families) > 1 else ():
                    value = self.rate(name, [family], outcome)
                    yield Row(experiment=NAME, method=name, metric=f"{outcome}", concept=family, **spread(value))
            for kind in ("plain", "disguised"):
                value = self.rate(name, [kind], outcome)
                yield Row(experiment=NAME, method=name, metric=f"benign.{outcome}.{kind}", **spread(value))
        yield Row(experiment=NAME, method=name, metric="neutral.refused", **spread(self.neutral_refused(name)))
        for what in ("kl", "loss"):
            yield Row(experiment=NAME, method=name, metric=f"neutral.{what}", **spread(self.mean(name, what)))
        yield Row(experiment=NAME, method=name, metric="in_context.accuracy", **spread(self.in_context(name)))
        if seeds[0].steering:
            yield Row(experiment=NAME, method=name, metric="steering.score", **spread(self.mean(name, "steering")))
        for way in seeds[0].separation:
            for metric in METRICS:
                value = self.separation(name, way, metric)
                yield Row(experiment=NAME, method=name, metric=f"{metric}.{way}", **spread(value))
        for seed, one in zip(self.config.seeds, seeds, strict=True):
            yield from self._of_seed(name, seed, one)

    def _of_seed(self, name: str, seed: int, one: MeasuredDefence) -> Iterator[Row]:
        def row(metric: str, value: float | None, layer: int | None = None) -> Row:
            return Row(experiment=NAME, method=name, metric=metric, value=value, layer=layer, seed=seed)

        for metric, value in one.indices.items():
            yield row(metric, value)
        for form, values in one.layers.items():
            for layer, value in enumerate(values):
                yield row(form, value, layer)
        for layer, value in enumerate(one.arm.profile, start=one.arm.first):
            yield row("profile", value, layer)
        for step, loss in one.arm.checkpoints:
            yield row(f"choosing.loss.{step}", loss)
        yield row("cost.cpu_seconds", one.arm.seconds)
        yield row("parameters", one.arm.parameters)


def outcome_rate(seeds: Sequence[Sequence[np.ndarray]]) -> Interval:
    """The mean of zeros and ones, [seed][family][request], with an interval over requests, and seeds if several.

    One family's of one seed is Clopper-Pearson's; else requests are resampled with what came of them under each.
    """
    if len(seeds) > 1 or len(seeds[0]) > 1:
        return bootstrap_crossed(np.array([np.mean(families, axis=0) for families in seeds]), bounds=(0.0, 1.0))
    [[values]] = seeds
    hits, n = int(values.sum()), len(values)
    low, high = np.asarray(proportion_confint(hits, n, method="beta"), dtype=float).tolist()
    return Interval(hits / n, low, high, n, 0, 0.95)


def correlation_over_models(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Spearman's correlation of pairs, with the interval of Bonett & Wright (2000) where there are LEAST or more.

    None where either side does not vary, or there are fewer than three pairs. A correlation of 1 or -1 has no interval.
    """
    n = len(pairs)
    found = or_none(spearman_correlation(*np.array(pairs).T)) if n > 2 else None
    if found is None:
        return Interval(None, None, None, n, 0, 0.95)
    if n < LEAST or abs(found) > 1 - 1e-9:
        note = f"no interval below {LEAST} models" if n < LEAST else "no interval where all models rank alike"
        return Interval(found, None, None, n, 0, 0.95, note)
    reach = norm.ppf(0.975) * np.sqrt((1 + found**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(found) + np.array([-reach, reach]))
    return Interval(found, float(low), float(high), n, 0, 0.95)
