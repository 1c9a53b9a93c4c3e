"""The metrics of the comparison: how each is named, explained, rounded and drawn."""

from dataclasses import dataclass
from typing import Literal


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

    @property
    def steering(self) -> bool:
        """Whether a judge or a generation stands behind it, so that its tables name the judge."""
        return self.name.startswith("steering.")


def _share(name: str, label: str, meaning: str, chance: float | None = None) -> Metric:
    return Metric(name, label, meaning, digits=2, better="higher", span=(0.0, 1.0), chance=chance)


def _rating(name: str, label: str, meaning: str) -> Metric:
    return Metric(name, label, meaning, digits=2, better="higher", span=(0.0, 2.0))


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
            "Of the steered answer under the unsteered model, given the prompt.",
            digits=1,
            better="lower",
        ),
        Metric(
            "steering.difference",
            "Difference in score",
            "Mean over concepts of the method's score minus the baseline's.",
            digits=2,
            better="higher",
            chance=0.0,
        ),
        Metric(
            "steering.p_holm",
            "p (Holm)",
            "Two-sided p of the paired difference, corrected for many comparisons.",
            digits=3,
        ),
        Metric("steering.chosen_strength", "Chosen strength", "The best on the selection half of instructions."),
        Metric(
            "side_effect.kl",
            "Side effect (KL)",
            "Nats a token by which steering moves the model's predictions on neutral text.",
            digits=3,
            better="lower",
        ),
        Metric("cost.seconds", "Cost (s)", "Seconds to fit all concepts.", better="lower"),
    )
}

HEADLINE = (
    "detection.auroc",
    "steering.score",
    "steering.win_rate",
    "side_effect.kl",
    "steering.perplexity",
    "cost.seconds",
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
    "steering.concept",
    "steering.instruction",
    "steering.fluency",
    "steering.win_rate",
    "steering.perplexity",
)


def metric(name: str) -> Metric:
    """How `name` is shown; a metric that is not in METRICS goes by its own name."""
    return METRICS.get(name, Metric(name, name, f"{name}, as the experiment records it."))
