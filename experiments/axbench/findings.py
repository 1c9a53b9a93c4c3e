"""What the intervals allow one to say, and what is missing, in sentences made from the same rows as the tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.axbench.comparison_tables import controls_of, entry
from experiments.axbench.metric_descriptions import comparison_metrics, metric
from experiments.axbench.results import Results
from workbench.report.blocks import Card, Missing
from workbench.report.estimate import Estimate, counts
from workbench.text import listed, number

ALPHA = 0.05
FEWEST_CONCEPTS, FEWEST_TEXTS = 8, 20
"""With fewer there is no verdict."""


def findings(results: Results) -> tuple[str, ...]:
    """Who reads best and who writes best, and who differs from the controls, or why that is not said.

    A difference is decided where its Holm-corrected p is at most 5 %; else the sentence names the smallest that these
    concepts would have shown, uncorrected, where that is larger than what was found.
    """
    return (*_detection(results), *_steering(results))


def verdict(results: Results) -> str:
    """The order of the steering scores and which of them are above random directions; empty where that is not said."""
    found = _ranked(results, "steering.score")
    if not found or _too_few(results, "steering.score"):
        return ""
    order = listed([f"{label} ({number(estimate.value, 2)})" for label, estimate in found])
    said = f"Steering scores from the highest: {order}."
    if "random" not in controls_of(results, "steering.score"):
        return said
    compared = _compared(results, "steering.score", "random")
    above = [each.label for each in compared if each.decided and each.difference.value > 0]
    decided = f"{listed(above)} {_agreeing(above, ('are', 'is'))}" if above else "none is"
    return f"{said} Of these {decided} shown to be above random directions."


def gaps(results: Results, cards: Sequence[Card]) -> tuple[str, ...]:
    """What was measured and came to nothing: headline numbers, values of concepts, ratings of sampled generations."""
    missing = []
    for name in results.headline:
        without = [
            note.label
            for note in results.methods
            if results.recorded(name, note.name) and isinstance(entry(results, metric(name), note), Missing)
        ]
        if without:
            missing.append(f"{metric(name).label}: no number for {listed(without)}.")
    for name in ("detection.auroc", "steering.score"):
        rows = [row for row in results.rows if row.metric == name and row.concept is not None]
        empty = sum(row.value is None for row in rows)
        if empty:
            missing.append(f"{metric(name).label} by concept: {empty} of {len(rows)} values missing.")
    unrated = sum(dict(card.ratings).get("score") is None for card in cards)
    if unrated and results.judge is not None:
        missing.append(f"Sampled generations: {unrated} of {len(cards)} without ratings.")
    return tuple(missing)


def _detection(results: Results) -> Iterable[str]:
    found = _ranked(results, "detection.auroc")
    if not found:
        return
    top = [(label, estimate) for label, estimate in found if estimate.value == found[0][1].value]
    labels = [label for label, _ in top]
    yield (
        f"Reading: {listed(labels)} {_agreeing(labels, ('have', 'has'))} the highest AUROC of texts with the concept "
        f"against texts without it, {_brackets(top[0][1])}; {counts(each for _, each in found)} concepts."
    )
    yield from _verdicts(
        results, "detection.auroc", ("read", "reads"), "Better than chance is better than this control."
    )


def _steering(results: Results) -> Iterable[str]:
    found = _ranked(results, "steering.score")
    if not found:
        return
    best = [f"{label} {_brackets(estimate)}" for label, estimate in found[:3]]
    counted = counts(estimate for _, estimate in found)
    yield f"Writing: the highest steering scores, from 0 to 2, are those of {listed(best)}; {counted} concepts."
    if above := _ranked(results, "steering.concepts_above_0"):
        said = [f"{label} {each.value:.0f} of {each.n}" for label, each in above]
        yield f"Concepts with any answer above 0: {listed(said)}."
    yield from _verdicts(results, "steering.score", ("steer", "steers"))


def _verdicts(results: Results, name: str, verb: tuple[str, str], remark: str = "") -> Iterable[str]:
    """A sentence for each control, or one that says why there is none."""
    if why := _too_few(results, name):
        yield f"No verdict on who {verb[1]} better: {why}."
        return
    controls = controls_of(results, name)
    for control in controls:
        yield f"{_against(results, name, control, verb)} {remark if control == 'random' else ''}".strip()
    if "random" not in controls:
        yield f"Whether any method {verb[1]} better than chance is not judged: no random control was compared with."


def _too_few(results: Results, name: str) -> str:
    """Why the run is too small for a verdict, as a clause; empty where it is not."""
    n = max((each.n for _, each in _ranked(results, name) if each.n is not None), default=None)
    if n is not None and n < FEWEST_CONCEPTS:
        return f"{n} concept{_plural(n)}, and it takes {FEWEST_CONCEPTS}"
    if results.texts is not None and results.texts < FEWEST_TEXTS:
        return f"{results.texts} evaluation text{_plural(results.texts)} a concept, and it takes {FEWEST_TEXTS}"
    return ""


@dataclass(frozen=True)
class _Compared:
    """A method's paired comparison with a control."""

    label: str
    difference: Estimate
    p_holm: float
    family: int
    """How many methods the control was compared with."""
    detectable: float | None

    @property
    def why_not(self) -> str:
        """Why nothing could be decided, whatever the difference; empty where something could."""
        n = self.difference.n or 0
        if n < FEWEST_CONCEPTS:
            return f"{n} pair{_plural(n)}, and it takes {FEWEST_CONCEPTS}"
        least = self.family * 2.0 ** (1 - n)
        return f"of {n} pairs and {self.family} methods no p can be below {number(least, 3)}" if least > ALPHA else ""

    @property
    def decided(self) -> bool:
        return not self.why_not and self.p_holm <= ALPHA

    @property
    def said(self) -> str:
        """The difference; where it is not decided with the smallest that would have been, if that is larger."""
        least = ""
        if not self.decided and self.detectable is not None and self.detectable > abs(self.difference.value):
            least = f"; {number(self.detectable, 2)} could have been seen"
        return f"{self.label} ({_signed(self.difference)}{least})"


def _compared(results: Results, name: str, control: str) -> list[_Compared]:
    difference, _, p_holm, detectable = comparison_metrics(name, control)
    found = [
        (note, results.estimate(difference, note.name), results.estimate(p_holm, note.name)) for note in results.methods
    ]
    there = [(note, each, p.value) for note, each, p in found if each is not None and p is not None]
    least = {note.name: results.estimate(detectable, note.name) for note, _, _ in there}
    return [
        _Compared(note.label, each, p, len(there), None if (seen := least[note.name]) is None else seen.value)
        for note, each, p in there
    ]


def _against(results: Results, name: str, control: str, verb: tuple[str, str]) -> str:
    """Which methods are above a control, which below, for which it is not decided and for which it could not be."""
    compared = _compared(results, name, control)
    above = [each.said for each in compared if each.decided and each.difference.value > 0]
    below = [each.said for each in compared if each.decided and each.difference.value <= 0]
    open_ = [each.said for each in compared if not each.decided and not each.why_not]
    unfit: dict[str, list[str]] = {}
    for each in compared:
        unfit.setdefault(each.why_not, []).append(each.label)
    parts = [
        f"{listed(above)} {_agreeing(above, verb)} better" if above else "",
        f"{listed(below)} {_agreeing(below, verb)} worse" if below else "",
        f"not decided for {listed(open_)}" if open_ else "",
        *(f"no verdict for {listed(labels)}: {why}" for why, labels in unfit.items() if why),
    ]
    told = "; ".join(filter(None, parts)) or "nothing was measured"
    return f"Against {results.note(control).label}, paired over concepts and Holm-corrected at 5 %: {told}."


def _ranked(results: Results, name: str) -> list[tuple[str, Estimate]]:
    found = [(note.label, results.estimate(name, note.name)) for note in results.methods]
    measured = [(label, estimate) for label, estimate in found if estimate is not None]
    return sorted(measured, key=lambda pair: -pair[1].value)


def _brackets(estimate: Estimate) -> str:
    return Estimate(estimate.value, estimate.low, estimate.high, None).said(2)


def _signed(estimate: Estimate) -> str:
    """`+0.30 [0.10, 0.50]`."""
    return f"{'+' if estimate.value > 0 else ''}{_brackets(estimate)}"


def _agreeing(names: list[str], verb: tuple[str, str]) -> str:
    return verb[len(names) == 1]


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
