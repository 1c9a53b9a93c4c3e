"""The rows of a comparison as something a report can ask: one number for one question."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any, NoReturn

from experiments.axbench.concept_labels import concept_labels
from experiments.axbench.config import UNSTEERED
from experiments.axbench.metric_descriptions import HARD_NEGATIVES, HEADLINE
from workbench.report.errors import ReportError
from workbench.report.estimate import Estimate
from workbench.runs.rows import Row

_Question = tuple[str, str, str | None]

StrengthCurve = tuple[tuple[float, Estimate], ...]
"""Strengths, weakest first, and what was found at each."""


@dataclass(frozen=True, kw_only=True)
class MethodNote:
    """One method, for readers who have never met it."""

    name: str
    """As in Row.method."""
    label: str
    source: str
    """Where it comes from: authors, year, arXiv id."""
    url: str | None = None
    limits: str = ""
    """What it cannot do, such as "Detects only."; said wherever a number of it is missing."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The rows of one layer and those that no layer applies to, with what tables and charts say of the methods.

    Raises ReportError when a method is named twice, or a row or the baseline names a method not in `methods`.
    """

    rows: tuple[Row, ...]
    methods: tuple[MethodNote, ...]
    """In the order of the page, which also gives them their colours."""
    judge: str | None = None
    """Who rated the generations; None in a comparison without ratings."""
    baseline: str | None = None
    """The method that win rates are against."""
    texts: int | None = None
    """The evaluation texts of the concept that has the fewest, where that is known."""
    headline: tuple[str, ...] = HEADLINE
    """The metrics of the first table."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """By concept; one that has none goes by its name."""

    def __post_init__(self) -> None:
        names = [note.name for note in self.methods]
        if len(set(names)) != len(names):
            raise ReportError(f"the comparison names a method twice: {sorted(names)}")
        for name in {row.method for row in self.rows} | ({self.baseline} if self.baseline is not None else set()):
            self.note(name)

    @classmethod
    def at(cls, layer: int | None, rows: Iterable[Row], **about: Any) -> "Results":
        """The results of one layer, or of all rows; `about` are the other fields. Raises as Results.

        Without hard negatives, metrics about them repeat others or have no value: these rows are left out.
        """
        kept = [row for row in rows if layer is None or row.layer in (None, layer)]
        hard = any(row.metric == "detection.hard_negative_accuracy" and row.value is not None for row in kept)
        return cls(rows=tuple(row for row in kept if hard or row.metric not in HARD_NEGATIVES), **about)

    def ranked(self) -> "Results":
        """The same with the methods best first: by steering score, those without by detection; unsteered last."""

        def place(note: MethodNote) -> tuple[bool, float, float]:
            found = (self.estimate(metric, note.name) for metric in ("steering.score", "detection.auroc"))
            score, auroc = (-1.0 if estimate is None else estimate.value for estimate in found)
            return note.name == UNSTEERED, -score, -auroc

        return replace(self, methods=tuple(sorted(self.methods, key=place)))

    def label(self, concept: str) -> str:
        """What a concept is called on the page: its description, shortened."""
        return self._labels.get(concept, concept)

    @property
    def meanings(self) -> dict[str, str]:
        """By label of a concept, the whole description."""
        return {self.label(name): text for name, text in self.descriptions.items()}

    @property
    def references(self) -> tuple[str, ...]:
        """Labels of what no method is compared with as an equal."""
        return tuple(note.label for note in self.methods if note.name == UNSTEERED)

    @cached_property
    def _labels(self) -> dict[str, str]:
        return concept_labels(self.descriptions)

    def note(self, method: str) -> MethodNote:
        """The note of one method. Raises ReportError for a method that is not described."""
        for note in self.methods:
            if note.name == method:
                return note
        raise ReportError(f"the comparison does not describe the method {method!r}; add a MethodNote for it")

    def recorded(self, metric: str, method: str, concept: str | None = None) -> bool:
        """Whether anybody recorded an answer to the question, be it a number or that it is missing."""
        return (metric, method, concept) in self._by_question

    def estimate(self, metric: str, method: str, concept: str | None = None) -> Estimate | None:
        """The answer to the question; None when it was not recorded or has no value.

        A row without a seed speaks for all seeds; where there is none, the rows of several seeds are averaged. Raises
        ReportError when rows of one seed are left: which layer or strength to show is for the experiment to say.
        """
        return _joined(self._by_question.get((metric, method, concept), []))

    def curve(self, metric: str, method: str, concept: str | None = None) -> StrengthCurve:
        """The answers at each strength that has a value. Raises ReportError as `estimate` does."""
        at: dict[float, list[Row]] = defaultdict(list)
        for row in self._by_question.get((metric, method, concept), []):
            if row.strength is not None:
                at[row.strength].append(row)
        joined = ((strength, _joined(at[strength])) for strength in sorted(at))
        return tuple((strength, estimate) for strength, estimate in joined if estimate is not None)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of the rows, in order."""
        return tuple(sorted({row.seed for row in self.rows if row.seed is not None}))

    def of_seed(self, metric: str, method: str, seed: int) -> Estimate | None:
        """The mean over concepts of one seed; None where it has no value."""
        rows = [row for concept in self.concepts for row in self._by_question.get((metric, method, concept), [])]
        values = [row.value for row in rows if row.seed == seed and row.value is not None]
        return Estimate(fmean(values), n=len(values)) if values else None

    def has(self, metric: str, *, by_concept: bool = False) -> bool:
        """Whether a row of the metric has a value: over all concepts, or for any one concept."""
        return any(
            row.metric == metric and row.value is not None and (row.concept is not None) == by_concept
            for row in self.rows
        )

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Every concept of the rows, in alphabetical order."""
        return tuple(sorted({row.concept for row in self.rows if row.concept is not None}))

    @cached_property
    def _by_question(self) -> dict[_Question, list[Row]]:
        index: dict[_Question, list[Row]] = defaultdict(list)
        for row in self.rows:
            index[row.metric, row.method, row.concept].append(row)
        return index


def _joined(rows: list[Row]) -> Estimate | None:
    chosen = [row for row in rows if row.seed is None] or rows
    if len({row.seed for row in chosen}) < len(chosen):
        _refuse(chosen)
    valued = [(row.value, row) for row in chosen if row.value is not None]
    if not valued:
        return None
    if len(valued) == 1:
        value, row = valued[0]
        return Estimate(value, row.low, row.high, row.n, row.note)
    counted = [row.n for _, row in valued if row.n is not None]
    return Estimate(fmean(value for value, _ in valued), n=sum(counted) if counted else None)


def _refuse(rows: list[Row]) -> NoReturn:
    first = rows[0]
    places = "; ".join(f"layer {row.layer}, strength {row.strength}, seed {row.seed}" for row in rows[:4])
    raise ReportError(
        f"{first.metric} of {first.method!r} for concept {first.concept!r} has {len(rows)} rows ({places}); "
        "choose a layer, or record one row that speaks for all"
    )
