"""How often the intervals of the reports hold the truth: `python -m benchmarks.coverage`.

Values of 10, 20 and 30 concepts (groups, pairs) are drawn from distributions whose mean is known, as real runs suggest
them, and every kind of interval that a report uses is made from them by the very functions that the reports call.
Coverage is the share of draws whose interval holds that mean; half of its own 95 % interval is 1.96 sqrt(.05 .95 /
repeats), .014 for 1000. Paired differences also count how often interval and p contradict each other, which must be 0.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tyro
from scipy.special import ndtr

from benchmarks.judge_agreement import kappa
from experiments.latent_steering.space import Similarity
from experiments.sae.measure import ratio_intervals
from experiments.sae.removing import SpuriousRemoval
from workbench.evaluation.count_statistics import class_mean, pair_share
from workbench.evaluation.crossed import bootstrap_crossed
from workbench.evaluation.differences import Difference, paired_difference
from workbench.evaluation.intervals import Bounds, Interval, Scale, bootstrap, bootstrap_clusters, bootstrap_stratified

SIZES = (10, 20, 30)
ANSWERS = 12
"""Of each concept."""
NEGATIVES = 3
"""Texts without a concept for each one with it."""
Draw = Callable[[np.random.Generator, int], np.ndarray]
Estimator = Callable[[np.random.Generator, int], Interval | Difference]


@dataclass(frozen=True)
class Args:
    """How exactly to measure."""

    repeats: int = 1000
    """Samples of each kind and size."""
    seed: int = 0
    only: str = ""
    """Kinds whose names have this in them; all if empty."""


@dataclass(frozen=True)
class Kind:
    """An interval under one distribution: `estimate` draws a sample of n units and gives its interval."""

    name: str
    method: str
    truth: float
    estimate: Estimator


@dataclass(frozen=True)
class Coverage:
    """What came of the repeats of one kind at one size; `contradictions` of samples with an interval and a p."""

    held: float
    width: float
    missing: float
    """The share of samples without an interval."""
    contradictions: int

    @classmethod
    def of(cls, kind: Kind, n: int, repeats: int, seed: int) -> "Coverage":
        """Simulate one kind."""
        rng = np.random.default_rng([seed, n, *kind.name.encode()])
        found = [kind.estimate(rng, n) for _ in range(repeats)]
        ends = np.array([(one.low, one.high) for one in found if one.low is not None], dtype=float).reshape(-1, 2)
        held = (ends[:, 0] <= kind.truth) & (kind.truth <= ends[:, 1])
        return cls(
            held=float(held.mean()) if len(ends) else float("nan"),
            width=float(np.diff(ends).mean()) if len(ends) else float("nan"),
            missing=1 - len(ends) / repeats,
            contradictions=sum(_contradicts(one) for one in found if isinstance(one, Difference)),
        )


def _contradicts(found: Difference) -> bool:
    if found.low is None or found.high is None or found.p is None:
        return False
    return (found.p <= 1 - found.level) == (found.low <= 0 <= found.high)


def _scores(effective: float, often: float) -> Draw:
    """Mean scores from 0 to 2: a share of concepts can be steered, each in a share of answers, `often` on average."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        rate = np.where(rng.random(n) < effective, rng.beta(2, 2 / often - 2, n), 0)
        answers = rng.choice([0.6, 1.0, 1.4, 1.8], (n, ANSWERS)) * (rng.random((n, ANSWERS)) < rate[:, None])
        return answers.mean(1)

    return draw


def _lognormal(mean: float) -> Draw:
    return lambda rng, n: rng.lognormal(mean, 1, n)


def _mean(draw: Draw, scale: Scale = "linear", bounds: Bounds | None = None) -> Estimator:
    return lambda rng, n: bootstrap(draw(rng, n), bounds=bounds, scale=scale)


def _paired(draw: Draw) -> Estimator:
    return lambda rng, n: paired_difference(draw(rng, n), np.zeros(n), permutations=1999)


def _of_groups(between: float, within: float) -> Estimator:
    """Answers in concepts; both are variances."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        groups = np.repeat(np.arange(n), 5)
        values = rng.normal(0, between**0.5, n)[groups] + rng.normal(0, within**0.5, len(groups))
        return bootstrap(values, groups, bounds=None)

    return estimate


def _stratified(shift: float) -> Estimator:
    """AUROC of n texts with a concept and three times as many without, whose scores lie `shift` deviations lower."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        labels = np.arange(n * (1 + NEGATIVES)) < n
        return bootstrap_stratified(rng.normal(size=len(labels)) + shift * labels, labels, draws=1000)

    return estimate


def _clustered(shift: float, accuracy: bool) -> Estimator:
    """Pairs of a text and its opposite, n of them, whose scores share a deviation of their pair."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        groups, labels = np.repeat(np.arange(n), 2), np.tile([True, False], n)
        scores = 0.6 * rng.normal(size=n)[groups] + 0.8 * rng.normal(size=2 * n) + shift * (labels - 0.5)
        right = ((scores > 0) == labels).astype(float)
        statistic = class_mean(right, labels) if accuracy else pair_share(scores, labels)
        [found] = bootstrap_clusters(groups, statistic, bounds=(0.0, 1.0))
        return found

    return estimate


def _crossed(trainings: int, between: float, requests: float) -> Estimator:
    """Rates of n requests under so many trainings and five disguises, a probit of effects of both (deviations)."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        effects = rng.normal(0, between, trainings)[:, None] + rng.normal(0, requests, n)
        return bootstrap_crossed(rng.binomial(5, ndtr(effects - 1)) / 5, bounds=(0.0, 1.0))

    return estimate


def _probit(between: float, requests: float) -> float:
    """The mean rate of `_crossed`."""
    return float(ndtr(-1 / (1 + between**2 + requests**2) ** 0.5))


def _ratio(metric: str) -> Estimator:
    """A ratio of sums over n held-out passages of 80 to 160 tokens: the quality of a dictionary."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        tokens = rng.integers(80, 160, n).astype(float)
        clean, gap = tokens * rng.normal(2.5, 0.5, n), tokens * rng.normal(7, 1, n)
        lost = rng.lognormal(np.log(0.03), 0.8, n)
        sums = {"n_states": tokens, "active": tokens * rng.gamma(10, 4, n), "residual": lost * gap, "spread": gap}
        sums |= {"clean": clean, "replaced": clean + lost * gap, "ablated": clean + gap}
        found = ratio_intervals(sums | {"kl": tokens * lost, "n_tokens": tokens})[metric]
        assert isinstance(found, Interval)
        return found

    return estimate


_LOST = float(np.exp(np.log(0.03) + 0.32))
"""The mean of what `_ratio` loses."""


def _pairs(what: str) -> Estimator:
    """Over all ordered pairs of n concepts, which share what is peculiar to a concept: spurious correlation removal."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        wanted, spurious = np.nonzero(~np.eye(n, dtype=bool))
        hard, near = rng.normal(0, 0.05, n), rng.normal(0, 0.05, n)
        before = 0.8 + hard[wanted] + rng.normal(0, 0.02, len(wanted))
        missing = 0.1 + hard[wanted] / 2 + rng.normal(0, 0.02, len(wanted))
        after = before + 0.3 * missing + near[spurious] / 2 + rng.normal(0, 0.03, len(wanted))
        values = (before.tolist(), (before + missing).tolist(), {2: after.tolist()})
        return SpuriousRemoval("", "accuracy", wanted.tolist(), spurious.tolist(), *values).interval(what, 2)

    return estimate


def _spearman(correlation: float) -> Estimator:
    """Rank correlation over n pairs of normal numbers."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        a = rng.normal(size=n)
        b = correlation * a + (1 - correlation**2) ** 0.5 * rng.normal(size=n)
        return Similarity(a.tolist(), {"way": b.tolist()}).spearman("way")

    return estimate


def _kappa(right: float) -> Estimator:
    """Cohen's kappa of n texts with a concept and as many without, of which a share is told right."""

    def estimate(rng: np.random.Generator, n: int) -> Interval:
        carried = np.arange(2 * n) < n
        return bootstrap_stratified(np.where(rng.random(2 * n) < right, carried, ~carried) * 2.0, carried, kappa)

    return estimate


KINDS = (
    Kind("mean, normal", "widened percentile", 0.0, _mean(lambda rng, n: rng.normal(size=n))),
    *(
        Kind(f"score, {name}", "widened or bounded", truth, _mean(_scores(effective, often), bounds=(0.0, 2.0)))
        for name, effective, often, truth in (
            ("effective method", 1.0, 0.4, 0.48),
            ("weak method", 0.6, 0.2, 0.144),
            ("nearly silent method", 0.15, 0.2, 0.036),
        )
    ),
    *(
        Kind(name, "geometric, widened", float(np.exp(mean)), _mean(_lognormal(mean), scale="log"))
        for name, mean in (("KL, lognormal", -1.0), ("perplexity, lognormal", 2.0))
    ),
    Kind(
        "AUROC by concept, near 1",
        "widened or bounded",
        12 / 13,
        _mean(lambda rng, n: rng.beta(12, 1, n), bounds=(0.0, 1.0)),
    ),
    Kind(
        "AUROC by concept, half of them 1",
        "widened or bounded",
        25 / 26,
        _mean(lambda rng, n: np.where(rng.random(n) < 0.5, 1, rng.beta(12, 1, n)), bounds=(0.0, 1.0)),
    ),
    Kind(
        "AUROC by concept, middling",
        "widened or bounded",
        0.6,
        _mean(lambda rng, n: rng.beta(6, 4, n), bounds=(0.0, 1.0)),
    ),
    Kind(
        "win rate, 12 comparisons a concept",
        "widened or bounded",
        0.5,
        _mean(lambda rng, n: rng.binomial(12, rng.beta(2, 2, n)) / 12, bounds=(0.0, 1.0)),
    ),
    Kind(
        "win rate, one comparison a concept",
        "widened or bounded",
        0.825,
        _mean(lambda rng, n: rng.choice([0, 0.5, 1], n, p=[0.1, 0.15, 0.75]), bounds=(0.0, 1.0)),
    ),
    Kind("answers in concepts, spread between", "means of groups, widened", 0.0, _of_groups(1.0, 0.2)),
    Kind("answers in concepts, spread within", "means of groups, widened", 0.0, _of_groups(0.05, 0.66)),
    *(
        Kind(f"AUROC over texts, {name}", "stratified, expanded", float(ndtr(shift / 2**0.5)), _stratified(shift))
        for name, shift in (("chance", 0.0), ("middling", 1.0), (".92", 2.0), (".98", 3.0))
    ),
    Kind("accuracy over groups of texts", "groups, expanded", float(ndtr(0.5)), _clustered(1.0, accuracy=True)),
    Kind("AUROC over groups of texts", "groups, expanded", float(ndtr(1 / 2**0.5)), _clustered(1.0, accuracy=False)),
    *(
        Kind(f"rates of 5 trainings, {name}", "crossed, widened", _probit(*effects), _crossed(5, *effects))
        for name, effects in (
            ("all alike", (0.0, 0.0)),
            ("requests differ", (0.1, 1.0)),
            ("trainings differ", (0.6, 0.3)),
            ("both differ", (0.4, 0.6)),
        )
    ),
    *(
        Kind(f"ratio of sums over texts, {name}", "groups, expanded", truth, _ratio(metric))
        for name, metric, truth in (
            ("active latents", "l0", 40.0),
            ("explained variance", "explained_variance", 1 - _LOST),
            ("loss recovered", "loss_recovered", 1 - _LOST),
            ("KL", "kl", _LOST),
        )
    ),
    Kind("mean over pairs of concepts", "pairs, expanded", 0.8, _pairs("before")),
    Kind("ratio over pairs of concepts", "pairs, expanded", 0.3, _pairs("score")),
    *(
        Kind(f"rank correlation, {name}", "groups, expanded", float(6 / np.pi * np.arcsin(rho / 2)), _spearman(rho))
        for name, rho in (("none", 0.0), ("middling", 0.5), ("strong", 0.9))
    ),
    *(
        Kind(f"kappa, {name}", "stratified, expanded", 2 * right - 1, _kappa(right))
        for name, right in (("middling", 0.8), ("near 1", 0.95))
    ),
    Kind("difference, normal", "sign flips inverted", 0.5, _paired(lambda rng, n: rng.normal(0.5, 1, n))),
    Kind("difference, equal methods", "sign flips inverted", 0.0, _paired(lambda rng, n: rng.normal(0, 1, n))),
    Kind(
        "difference, skewed",
        "sign flips inverted",
        1.0,
        _paired(lambda rng, n: rng.exponential(size=n)),
    ),
    Kind(
        "difference, seven in ten 0, else either way",
        "sign flips inverted",
        0.0,
        _paired(lambda rng, n: np.where(rng.random(n) < 0.7, 0, rng.normal(size=n))),
    ),
    Kind(
        "difference, seven in ten 0, else above",
        "sign flips inverted",
        0.3 * 0.5,
        _paired(lambda rng, n: np.where(rng.random(n) < 0.7, 0, rng.uniform(0, 1, n))),
    ),
)
"""Every kind of interval in the reports, under distributions as real runs have them."""


def rows(kinds: Sequence[Kind], repeats: int, seed: int) -> Iterator[str]:
    """The lines of a Markdown table: coverage and mean width at every size, and whether interval and p contradict."""
    heads = ("kind", "interval", *(f"n = {n}" for n in SIZES), *(f"width, {n}" for n in SIZES), "none", "contradicts p")
    yield from (_line(heads), _line([":--", ":--", *["--:"] * (2 * len(SIZES) + 2)]))
    for kind in kinds:
        found = [Coverage.of(kind, n, repeats, seed) for n in SIZES]
        held = [f"{one.held:.3f}".lstrip("0") for one in found]
        width = [f"{one.width:.3g}" for one in found]
        none = f"{max(one.missing for one in found):.3f}".lstrip("0")
        clashes = str(sum(one.contradictions for one in found)) if kind.name.startswith("difference") else ""
        yield _line([kind.name, kind.method, *held, *width, none, clashes])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(args: Args) -> None:
    """Print the table."""
    kinds = [kind for kind in KINDS if args.only in kind.name]
    for line in rows(kinds, args.repeats, args.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
