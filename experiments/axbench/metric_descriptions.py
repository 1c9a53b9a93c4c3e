"""The metrics of the comparison: how each is named, explained, rounded and drawn."""

from dataclasses import dataclass
from typing import Literal

from workbench.evaluation.intervals import Scale
from workbench.evaluation.summary import MeanKind, difference_metric


@dataclass(frozen=True)
class Metric:
    """How one metric of results.json is shown."""

    name: str
    """As in Row.metric."""
    label: str
    meaning: str
    """One sentence for readers who do not know it."""
    digits: int | None = None
    """Decimals; None is three significant figures."""
    better: Literal["higher", "lower"] | None = None
    span: tuple[float, float] | None = None
    """Its smallest and largest possible value, where it has both."""
    chance: float | None = None
    """What knowing nothing gives."""
    scale: Scale = "linear"
    """Whether its mean over concepts is arithmetic or geometric."""
    paired: bool = False
    """Whether it is a difference from what was there without steering."""

    @property
    def steering(self) -> bool:
        """Whether a judge or a generation stands behind it, so that its tables name the judge."""
        return self.name.startswith("steering.")


def _share(name: str, label: str, meaning: str, chance: float | None = None) -> Metric:
    return Metric(name, label, meaning, digits=2, better="higher", span=(0.0, 1.0), chance=chance)


def _rating(name: str, label: str, meaning: str) -> Metric:
    return Metric(name, label, meaning, digits=2, better="higher", span=(0.0, 2.0))


CONTROLS = {
    "detection.auroc": ("random", "bag_of_words"),
    "steering.score": ("random", "diffmean"),
    "at_kl.score": ("random", "diffmean"),
}
"""The methods that every other one is compared with, by metric: the planned comparisons."""


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _share(
            "detection.auroc",
            "Detection AUROC",
            "The chance that a text with the concept scores higher than one without it.",
            chance=0.5,
        ),
        _share(
            "detection.auroc_with_hard",
            "AUROC with hard negatives",
            "As detection AUROC; texts that use the concept's words in another sense count as texts without it.",
            chance=0.5,
        ),
        _share(
            "detection.auroc_compat",
            "AUROC as published",
            "As AxBench's code computes it: scores rounded to three decimals, hard negatives left out.",
            chance=0.5,
        ),
        _share("detection.f1", "F1", "Harmonic mean of precision and recall, at the threshold of validation data."),
        _share(
            "detection.hard_negative_accuracy",
            "Hard-negative accuracy",
            "Share of texts with the concept and of hard negatives that are told apart.",
            chance=0.5,
        ),
        _share(
            "detection.hard_negative_accuracy_compat",
            "Hard-negative accuracy as published",
            "As AxBench's code computes it: scores rounded to three decimals.",
            chance=0.5,
        ),
        _share("detection.f1_at_1_percent", "F1 at 1 %", "F1 when one text in a hundred has the concept."),
        _rating(
            "steering.score",
            "Steering score",
            "Harmonic mean of the three ratings of a generation, from 0 to 2; 0 when any rating is 0.",
        ),
        _rating("steering.concept", "Concept", "Is the concept in the answer? From 0 to 2."),
        _rating("steering.instruction", "Instruction", "Does the answer follow the instruction? From 0 to 2."),
        _rating("steering.fluency", "Fluency", "Is the answer well-formed language? From 0 to 2."),
        _share(
            "steering.win_rate",
            "Win rate",
            "Share of concepts on which the method scores above the baseline; a tie counts half.",
            chance=0.5,
        ),
        Metric(
            "steering.perplexity",
            "Perplexity",
            "Of the steered answer under the unsteered model, given the prompt; the geometric mean over concepts.",
            digits=1,
            better="lower",
            scale="log",
        ),
        Metric(
            "steering.concepts_above_0",
            "Concepts above 0",
            "On how many of the n concepts any answer scores above 0.",
            digits=0,
            better="higher",
        ),
        _rating("steering.curve", "Score by strength", "As the steering score, on the instructions that choose."),
        _rating("steering.curve_concept", "Concept by strength", "As concept, on the instructions that choose."),
        _rating("steering.curve_instruction", "Instruction by strength", "As instruction, on those that choose."),
        _rating("steering.curve_fluency", "Fluency by strength", "As fluency, on the instructions that choose."),
        Metric("steering.chosen_strength", "Chosen strength", "The best on the selection half of instructions."),
        Metric(
            "side_effect.kl",
            "Side effect (KL)",
            "Nats a token by which steering moves the model's predictions on neutral text; geometric mean.",
            digits=3,
            better="lower",
            scale="log",
        ),
        _rating("at_kl.score", "Score", "Steering score where the side effect is equal."),
        _rating(
            "at_kl.concept", "Concept", "Is the concept in the answer, where the side effect is equal? From 0 to 2."
        ),
        _rating("at_kl.instruction", "Instruction", "The rating of the instruction where the side effect is equal."),
        _rating("at_kl.fluency", "Fluency", "The rating of fluency where the side effect is equal."),
        _rating("at_kl.area", "Frontier", "Mean concept rating along the side effect, which counts by its logarithm."),
        Metric(
            "at_kl.reading",
            "Reading",
            "How much more of the concept a linear probe reads in the answer than in the unsteered one, in units of "
            "the largest reading on held-out text.",
            digits=2,
            better="higher",
            paired=True,
        ),
        Metric(
            "at_kl.perplexity",
            "Perplexity",
            "Of the answer where the side effect is equal.",
            digits=1,
            better="lower",
            scale="log",
        ),
        Metric("at_kl.strength", "Strength", "Where the side effect is equal."),
        Metric(
            "removal.less",
            "Concept taken out",
            "By how much the subtracted vector lowers the concept rating of answers that were asked for the concept.",
            digits=2,
            better="higher",
            span=(-2.0, 2.0),
            paired=True,
        ),
        _rating("removal.score", "Score left", "Steering score of answers asked for the concept, vector subtracted."),
        _rating(
            "removal.concept", "Concept left", "Concept rating of answers asked for the concept, vector subtracted."
        ),
        _rating("removal.instruction", "Instruction", "The rating of the instruction, vector subtracted."),
        _rating("removal.fluency", "Fluency", "The rating of fluency, vector subtracted."),
        Metric("removal.perplexity", "Perplexity", "Of these answers.", digits=1, better="lower", scale="log"),
        Metric(
            "off_concept.own",
            "Own concept",
            "Change in a linear probe's reading of the concept from the unsteered answer, in units of the largest "
            "reading on held-out text.",
            digits=2,
            better="higher",
            paired=True,
        ),
        Metric(
            "off_concept.others",
            "Other concepts",
            "The same for the other concepts, on average.",
            digits=2,
            paired=True,
        ),
        Metric(
            "off_concept.wrong_way",
            "Wrong way",
            "Share of answers that carry less of the concept than unsteered; half of them where nothing is steered.",
            digits=2,
            better="lower",
            span=(0.0, 1.0),
            chance=0.5,
        ),
        Metric("cost.seconds", "Cost (s)", "Seconds by the clock to fit all concepts.", better="lower"),
        Metric("cost.cpu_seconds", "Cost (CPU s)", "Seconds of the processor to fit all concepts.", better="lower"),
    )
}

HEADLINE = (
    "detection.auroc",
    "steering.score",
    "steering.win_rate",
    "side_effect.kl",
    "steering.perplexity",
    "cost.cpu_seconds",
)
HARD_NEGATIVES = (
    "detection.auroc_with_hard",
    "detection.hard_negative_accuracy",
    "detection.hard_negative_accuracy_compat",
)
"""Metrics that mean something only where evaluation texts hold hard negatives."""
DETECTION = tuple(name for name in METRICS if name.startswith("detection."))
STEERING = (
    "steering.score",
    "steering.concepts_above_0",
    "steering.concept",
    "steering.instruction",
    "steering.fluency",
    "steering.win_rate",
    "steering.perplexity",
)
AT_KL = ("at_kl.score", "at_kl.concept", "at_kl.instruction", "at_kl.fluency", "at_kl.reading")
"""What has a table at equal side effect."""


KINDS = {name: MeanKind(metric.span, metric.scale, metric.paired) for name, metric in METRICS.items()}
"""How the means over concepts are taken, for `workbench.evaluation.summary.rows_of`."""


def comparison_metrics(name: str, control: str) -> tuple[str, ...]:
    """The metrics of one planned comparison: the difference, its two p values, and what could be detected."""
    difference = difference_metric(name, control)
    return (difference, f"{difference}.p", f"{difference}.p_holm", f"{difference}.detectable")


def metric(name: str) -> Metric:
    """How `name` is shown; a metric that nobody described goes by its own name."""
    comparison = _described_comparison(name) if "_minus_" in name else {}
    return (METRICS | comparison).get(name) or Metric(name, name, f"{name}, as the experiment records it.")


def _described_comparison(name: str) -> dict[str, Metric]:
    """The metrics of the comparison that `name` belongs to, see `workbench.evaluation.summary.comparisons`."""
    measured, control = name.split("_minus_")
    control = control.split(".")[0]
    difference, p, p_holm, detectable = comparison_metrics(measured, control)
    label = METRICS[measured].label
    paired = f"{label} less that of {control}, paired over concepts"
    found = (
        Metric(difference, "Difference", f"Mean {paired}.", digits=2, better="higher", chance=0.0),
        Metric(p, "p", f"Two-sided p of the sign-flip test: {paired}.", digits=3),
        Metric(p_holm, "p (Holm)", f"p corrected for how many methods are compared: {paired}.", digits=3),
        Metric(
            detectable,
            "Smallest detectable",
            f"The smallest true difference that so many concepts show in 80 % of runs, uncorrected: {paired}.",
            digits=2,
        ),
    )
    return {each.name: each for each in found}
