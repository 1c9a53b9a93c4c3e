"""All that was measured, as rates with intervals and as rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from experiments.grace.config import NAME, Config
from experiments.grace.context import UNDEFENDED
from experiments.grace.measure import Answers, MeasuredDefence, share
from probes.geometry.avqi import METRICS
from steering.grace.attacks import CHOOSING, HELD_OUT, TRAINED
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.evaluation.judges.policy import OUTCOMES
from workbench.evaluation.summary import LINEAR, MeanKind, mean_of_kind
from workbench.runs.rows import Row, spread

SIDES: dict[str, tuple[str, ...]] = {
    "direct": ("direct",),
    "trained": TRAINED,
    "choosing": CHOOSING,
    "held_out": HELD_OUT,
}
"""Families that are told of together."""


@dataclass(frozen=True, eq=False)
class DefenceResults:
    """Everything, by defence."""

    config: Config
    found: dict[str, MeasuredDefence]
    untaught: Answers
    """Of the model before it learnt the policy, to direct and to plain benign requests."""
    places: dict[str, list[tuple[str, str, float, float]]]
    """Centroids before and after GRACE B, where that was trained."""

    def rate(self, arm: str, families: Sequence[str], outcome: str = "compliance") -> Interval:
        """The share of answers of an outcome, over requests: see `outcome_rate`."""
        answers = self.found[arm].answers
        return outcome_rate([share(answers[family], outcome) for family in families])

    def in_context(self, arm: str) -> Interval:
        """The share of in-context questions that are answered right."""
        return outcome_rate([np.array(self.found[arm].in_context)])

    def mean(self, arm: str, what: str) -> Interval:
        """The mean over neutral texts of `kl`, a geometric one, or of `loss`."""
        return mean_of_kind(np.array(getattr(self.found[arm], what)), MeanKind(scale="log") if what == "kl" else LINEAR)

    def rows(self) -> Iterator[Row]:
        """Tidy: every rate of every side and family, side effects, separation and costs."""
        for name in self.found:
            yield from self._of_arm(name)
        for group, answers in self.untaught.items():
            for outcome in OUTCOMES:
                value = outcome_rate([share(answers, outcome)])
                yield Row(experiment=NAME, method="untaught", metric=f"{outcome}.{group}", **spread(value))

    def _of_arm(self, name: str) -> Iterator[Row]:
        measured = self.found[name]
        for outcome in OUTCOMES:
            for side, families in SIDES.items():
                value = self.rate(name, families, outcome)
                yield Row(experiment=NAME, method=name, metric=f"{outcome}.{side}", **spread(value))
                for family in families if len(families) > 1 else ():
                    value = self.rate(name, [family], outcome)
                    yield Row(experiment=NAME, method=name, metric=f"{outcome}", concept=family, **spread(value))
            for kind in ("plain", "disguised"):
                value = self.rate(name, [kind], outcome)
                yield Row(experiment=NAME, method=name, metric=f"benign.{outcome}.{kind}", **spread(value))
        for what in ("kl", "loss"):
            yield Row(experiment=NAME, method=name, metric=f"neutral.{what}", **spread(self.mean(name, what)))
        yield Row(experiment=NAME, method=name, metric="in_context.accuracy", **spread(self.in_context(name)))
        for way, metrics in measured.separation.items():
            for metric in METRICS:
                value, low, high = metrics[metric]
                yield Row(experiment=NAME, method=name, metric=f"{metric}.{way}", value=value, low=low, high=high)
        for metric, value in measured.indices.items():
            yield Row(experiment=NAME, method=name, metric=metric, value=value)
        for form, values in measured.layers.items():
            for layer, value in enumerate(values):
                yield Row(experiment=NAME, method=name, metric=form, value=value, layer=layer)
        for layer, value in enumerate(measured.arm.profile, start=measured.arm.first):
            yield Row(experiment=NAME, method=name, metric="profile", value=value, layer=layer)
        if name != UNDEFENDED:
            yield Row(experiment=NAME, method=name, metric="cost.cpu_seconds", value=measured.arm.seconds)
            yield Row(experiment=NAME, method=name, metric="parameters", value=measured.arm.parameters)


def outcome_rate(groups: Sequence[np.ndarray]) -> Interval:
    """The mean of zeros and ones, [family][request], with an interval over requests.

    One family's is Clopper-Pearson's; of several, requests are resampled with what came of them under each.
    """
    if len(groups) > 1:
        return bootstrap(np.mean(groups, axis=0), bounds=(0.0, 1.0))
    hits, n = int(groups[0].sum()), len(groups[0])
    reach = binomtest(hits, n).proportion_ci(method="exact")
    return Interval(hits / n, float(reach.low), float(reach.high), n, 0, 0.95)
