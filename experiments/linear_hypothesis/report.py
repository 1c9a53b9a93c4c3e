"""The report of a run: what was asked, the numbers with their controls, and what they say."""

from collections.abc import Sequence

import numpy as np

from experiments.linear_hypothesis.config import PRESETS
from experiments.linear_hypothesis.measure import PAIRS, QUANTILE, SHARE, Writing, interval
from experiments.linear_hypothesis.study import Study
from experiments.linear_hypothesis.verdict import verdict
from experiments.smoke import smoke_banner
from probes.geometry.causal import is_tied
from workbench.evaluation.differences import paired_difference
from workbench.report.blocks import HeatMap, Table, headings, paragraphs
from workbench.report.charts import Line, LineChart, Point
from workbench.report.document import Document, Section
from workbench.report.estimate import Estimate

WAYS = {
    "causal": "Causal",
    "euclidean": "Euclidean",
    "rotated": "Rotated",
    "random": "Random",
}
NOTES = (
    "Words are rows of the output embedding, one for each word that is a single token after a space. The causal inner "
    "product is u' Cov^-1 v, with Cov the covariance of the rows over the vocabulary, every token counting the same.",
    "Rotated has the eigenvalues of the causal product on random axes; Random multiplies vectors with absolute values "
    "of Gaussian numbers, as published. Both are single draws.",
    "Held out means without the pair itself and without every pair that shares a word with it. Concepts of one kind, "
    "or with a word in common, are related and enter no mean over unrelated ones.",
    "Intervals are widened 95 % bootstraps: over pairs for projections, over concepts for angles, over contexts "
    "for reading, over sets of contexts for writing. Concepts are not independent draws; the intervals do not say how "
    "other concepts would come out.",
)


def build_report(study: Study) -> Document:
    """Everything on the page."""
    tied = is_tied(study.model)
    return Document(
        title="Are concepts directions of the unembedding?",
        lead=f"The linear representation hypothesis (arXiv:2311.03658) asked of {study.model.name} with "
        f"{len(study.concepts)} concepts, each a list of word pairs."
        + (" Its embeddings are tied: one matrix reads and writes words." * tied),
        verdict=verdict(study.run.rows()),
        banner=smoke_banner(study.config, PRESETS),
        command=study.run.command,
        facts=(
            ("Model", study.model.name),
            ("Precision", f"{str(study.model.dtype).removeprefix('torch.')}, statistics in float64"),
            ("Embeddings", "tied" if tied else "not tied"),
            ("Vocabulary", f"{len(study.words)} rows of width {study.words.shape[1]}"),
            ("Covariance", f"rank {study.space.rank}, condition number {study.space.condition:.0f}"),
            ("Concepts", f"{len(study.concepts)} used, {len(study.dropped)} dropped"),
        ),
        sections=(_subspace(study), _angles(study), *_reading(study), *_writing(study)),
        notes=(*NOTES, *_dropped(study)),
    )


def _dropped(study: Study) -> tuple[str, ...]:
    if not study.dropped:
        return ()
    named = ", ".join(f"{name} ({usable})" for name, usable in study.dropped)
    least = study.config.least
    return (f"Dropped, with the pairs that could be used, because fewer than {least} or all share a word: {named}.",)


def _subspace(study: Study) -> Section:
    found = study.subspace
    rows = []
    for number, name in enumerate(found.names):
        held_out = found.projections["causal"][number]
        positive = float(np.mean(np.array(held_out) > 0))
        areas = (found.aurocs[way][number] for way in ("causal", "euclidean"))
        rows.append((name, (found.given[number], Estimate.of(interval(held_out, None)), positive, *areas)))
    rows.append(("random pairs", (None, Estimate.of(interval(found.random, None)), None, None, None)))
    means = [float(np.mean(values)) for values in found.projections["causal"]]
    above = sum(mean > float(np.quantile(found.random, QUANTILE)) for mean in means)
    return Section(
        title="One direction for all pairs of a concept",
        blocks=(
            paragraphs(
                f"The mean held-out projection of {above} of {len(means)} concepts is above that of {QUANTILE:.0%} of "
                f"concepts made of {PAIRS} random pairs. Along the concepts' directions the difference of a random "
                f"pair has a standard deviation of {found.spread:.3f}; in whitened space it is expected to be 1.414."
            ),
            Table(
                name="subspace",
                title="Each pair on the direction of the others",
                caption="Projections in whitened space, mean over pairs; the area is that of a concept's held-out "
                "pairs against random pairs; n are the pairs used. The last row is the mean over concepts of random "
                "pairs.",
                corner="Concept",
                columns=headings(("Pairs given", "Projection", "Share positive", "AUROC, causal", "AUROC, Euclidean")),
                rows=tuple(rows),
            ),
        ),
    )


def _angles(study: Study) -> Section:
    found = study.angles
    by_way = {way: found.mean(way, related=False) for way in WAYS}
    difference = paired_difference(by_way["causal"], by_way["euclidean"])
    return Section(
        title="Unrelated concepts at right angles",
        blocks=(
            paragraphs(
                f"Mean |cos| with unrelated concepts, causal less Euclidean: {difference} over {difference.n} "
                "concepts. A product that put all directions at right angles would tell nothing about concepts; what "
                "it does to related concepts and to concepts of random pairs stands beside."
            ),
            Table(
                name="angles",
                title="How far from right angles concepts are",
                caption="Mean |cos| of a concept with all others of the sort, averaged over concepts; the last column "
                f"is among concepts of {PAIRS} random pairs.",
                corner="Inner product",
                columns=headings(("Unrelated", "Related", "Random pairs")),
                rows=tuple(
                    (
                        WAYS[way],
                        (
                            Estimate.of(interval(unrelated, SHARE)),
                            Estimate.of(interval(found.mean(way, related=True), SHARE)),
                            Estimate.of(interval(found.random[way], SHARE)),
                        ),
                    )
                    for way, unrelated in by_way.items()
                ),
            ),
            *(_heat_map(study, way) for way in WAYS),
        ),
    )


def _heat_map(study: Study, way: str) -> HeatMap:
    names = tuple(study.angles.names)
    return HeatMap(
        name=f"cosines-{way}",
        title=f"{WAYS[way]}: |cos| between concepts",
        caption="0 is a right angle.",
        rows=names,
        columns=names,
        values=tuple(tuple(abs(value) for value in row) for row in study.angles.cosines[way]),
        low=0.0,
        high=1.0,
        rows_label="Concept",
        columns_label="Concept",
    )


def _reading(study: Study) -> list[Section]:
    sets = study.reading
    if not sets:
        return []
    above = sum(one.area.value is not None and one.area.value > one.random for one in sets)
    return [
        Section(
            title="Reading contexts",
            blocks=(
                paragraphs(
                    f"In {above} of {len(sets)} sets the concept's own direction tells the contexts that call for the "
                    f"target from those that call for the base better than {QUANTILE:.0%} of random directions do."
                ),
                Table(
                    name="reading",
                    title="The own concept's direction",
                    caption=f"AUROC of context times direction. {QUANTILE:.0%} of the directions of random pairs stay "
                    "below the last column, whichever sign suits them.",
                    corner="Set",
                    columns=headings(("Contexts", "AUROC", "Random directions")),
                    rows=tuple((one.concept, (one.n, Estimate.of(one.area), one.random)) for one in sets),
                ),
                HeatMap(
                    name="reading-all",
                    title="Every concept's direction on every set of contexts",
                    caption="AUROC; 0.5 is chance, and a concept that a set does not speak about should be near it.",
                    rows=tuple(one.concept for one in sets),
                    columns=tuple(study.angles.names),
                    values=tuple(tuple(one.aurocs) for one in sets),
                    low=0.0,
                    high=1.0,
                    rows_label="Contexts",
                    columns_label="Direction",
                ),
            ),
        )
    ]


def _writing(study: Study) -> list[Section]:
    sets = study.writing
    if not sets:
        return []
    moved = {way: interval([_number(one.moved[way]) for one in sets], None) for way in WAYS}
    rows: list[tuple[str, tuple[Estimate | float | None, ...]]] = [
        (one.concept, (one.prefer["causal"][0], *(one.moved[way] for way in WAYS))) for one in sets
    ]
    rows.append(("mean", (None, *(Estimate.of(moved[way]) for way in WAYS))))
    return [
        Section(
            title="Writing on contexts",
            blocks=(
                paragraphs(
                    "Contexts that call for the base word are moved along the concept until the log-odds of its own "
                    "pairs have changed by a given number of nats on average; each pair is moved by the direction of "
                    f"the others. Unrelated concepts' log-odds then move by {moved['causal']} of that along the causal "
                    f"direction, and by {moved['euclidean']} along the Euclidean one."
                ),
                Table(
                    name="writing",
                    title="What else moves",
                    caption="Mean |change| of the mean log-odds of each unrelated concept, as a share of the own "
                    "concept's. The first column is the share of contexts and own pairs with the target likelier, at "
                    f"{sets[0].effects[0]:g} nats.",
                    corner="Contexts and concept",
                    columns=headings(("Target likelier", *WAYS.values())),
                    rows=tuple(rows),
                ),
                *_top_words(sets),
                *(figure for part in ("prefer", "changed") for figure in _curves(sets, part)),
            ),
        )
    ]


def _top_words(sets: Sequence[Writing]) -> list[Table]:
    shown = [one for one in sets if one.top]
    if not shown:
        return []
    return [
        Table(
            name="words",
            title="The likeliest next word",
            caption="After one context of each set, by nats of effect along the causal direction.",
            corner="Context, concept",
            columns=headings(f"{effect:g}" for effect in shown[0].effects),
            rows=tuple((f"{one.example} … ({one.concept})", tuple(repr(word) for word in one.top)) for one in shown),
        )
    ]


def _curves(sets: Sequence[Writing], part: str) -> list[LineChart]:
    lines = [line for way in WAYS if (line := _line(sets, part, way)) is not None]
    if not lines:
        return []
    own = part == "prefer"
    return [
        LineChart(
            name=f"writing-{part}",
            title="The own concept's pairs" if own else "Pairs of unrelated concepts",
            caption="Share of contexts and pairs in which the target is the likelier word."
            if own
            else "Share of contexts and pairs in which the likelier word has changed: lower is better.",
            x="Own effect (nats)",
            y="Target likelier" if own else "Changed",
            lines=tuple(lines),
        )
    ]


def _line(sets: Sequence[Writing], part: str, way: str) -> Line | None:
    values = np.array([[_number(value) for value in getattr(one, part)[way]] for one in sets])  # [set, effect]
    found = [(effect, interval(column, SHARE)) for effect, column in zip(sets[0].effects, values.T, strict=True)]
    points = tuple(Point(effect, one.value, one.low, one.high) for effect, one in found if one.value is not None)
    return Line(WAYS[way], points) if points else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
