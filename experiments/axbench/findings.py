"""What the intervals allow one to say, and what is missing, in sentences made from the same rows as the tables."""

from collections.abc import Iterable, Sequence

from experiments.axbench.comparison_tables import entry
from experiments.axbench.metric_descriptions import metric
from experiments.axbench.results import Results
from workbench.report.blocks import Card, Missing
from workbench.report.estimate import Estimate, counts
from workbench.text import listed

_ALPHA = 0.05


def findings(results: Results) -> tuple[str, ...]:
    """Who reads above chance, who writes best, who differs from the baseline; a sentence for each that was measured."""
    sentences = (
        *_detection(results),
        *_steering(results),
        *_against_baseline(results),
    )
    return tuple(sentences)


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
    chance = 0.5
    above = [label for label, estimate in found if estimate.reach[0] > chance]
    unclear = [label for label, estimate in found if estimate.reach[0] <= chance <= estimate.reach[1]]
    best, estimate = found[0]
    yield (
        f"Reading: {len(above)} of {len(found)} methods tell texts with the concept from texts without it better than "
        f"chance{': ' + listed(above) if above else ''}. Highest is {best} with an AUROC of {_brackets(estimate)}, "
        f"{counts(each for _, each in found)} concepts."
        + (f" Not told apart from chance: {listed(unclear)}." if unclear else "")
    )


def _steering(results: Results) -> Iterable[str]:
    found = _ranked(results, "steering.score")
    if not found:
        return
    best = [f"{label} {_brackets(estimate)}" for label, estimate in found[:3]]
    counted = counts(estimate for _, estimate in found)
    yield f"Writing: the highest steering scores, from 0 to 2, are those of {listed(best)}; {counted} concepts."


def _against_baseline(results: Results) -> Iterable[str]:
    if results.baseline is None:
        return
    sides: dict[str, list[str]] = {"above": [], "below": [], "undecided": []}
    for note in results.methods:
        difference = results.estimate("steering.difference", note.name)
        p = results.estimate("steering.p_holm", note.name)
        if difference is not None and p is not None:
            decided = "above" if difference.value > 0 else "below"
            sides[decided if p.value < _ALPHA else "undecided"].append(note.label)
    said = [
        f"{listed(sides['above'])} steer{_s(sides['above'])} better" if sides["above"] else "",
        f"{listed(sides['below'])} steer{_s(sides['below'])} worse" if sides["below"] else "",
        f"for {listed(sides['undecided'])} the data do not decide" if sides["undecided"] else "",
    ]
    if any(said):
        against = results.note(results.baseline).label
        yield f"Against {against}, paired over concepts and Holm-corrected at 5 %: {'; '.join(filter(None, said))}."


def _ranked(results: Results, name: str) -> list[tuple[str, Estimate]]:
    found = [(note.label, results.estimate(name, note.name)) for note in results.methods]
    measured = [(label, estimate) for label, estimate in found if estimate is not None]
    return sorted(measured, key=lambda pair: -pair[1].value)


def _brackets(estimate: Estimate) -> str:
    return Estimate(estimate.value, estimate.low, estimate.high, None).said(2)


def _s(names: list[str]) -> str:
    return "s" if len(names) == 1 else ""
