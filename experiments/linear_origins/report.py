"""The report of the simulation: who reached the floor, and how linear the concepts of those are."""

import math
from collections.abc import Sequence

import numpy as np

from experiments.linear_origins.config import PRESETS, RECORDS, Config
from experiments.linear_origins.measures import by_chance
from experiments.linear_origins.study import Found, rows
from experiments.linear_origins.verdict import verdict
from experiments.smoke import smoke_banner
from workbench.report.blocks import HeatMap, Table, headings, paragraphs
from workbench.report.charts import Line, LineChart, Point
from workbench.report.document import Document, Section
from workbench.report.estimate import Estimate
from workbench.runs.run import Run
from workbench.text import number

_COLUMNS = {
    "unembed.within": "One concept, g: cosine",
    "embed.within": "One concept, f: cosine",
    "unembed.across": "Two concepts, g: |cosine|",
    "embed.across": "Two concepts, f: |cosine|",
    "align.same": "One concept, g with f: cosine",
    "align.other": "Two concepts, g with f: |cosine|",
}
_LEAD = (
    "A world of binary concepts, of which a context tells some and a token is a full assignment. Lookup tables f and g "
    "learn p(token | context) in proportion to exp(f . g), from the exact distribution. If training alone makes "
    "concepts linear (Jiang et al. 2024, arXiv:2403.03867), a concept moves g by the same direction whatever the other "
    "concepts are, moves f by the same direction, and different concepts move them at right angles."
)
_NOTES = (
    "The excess is the cross entropy less the entropy of the exact distribution, its least value: mean over all 3^m "
    "contexts, equally weighted, computed in float64. Seeds above the limit are stuck and are left out of all cosines.",
    "A matched pair differs in one concept alone: 2^(m-1) pairs of tokens a concept, 3^(m-1) pairs of contexts, which "
    "tell 1 and 0. Cosines within a concept are averaged over all pairs of differences; those between concepts, and "
    "between f and g, are of the mean differences.",
    "Intervals are bootstrap intervals over converged seeds; every seed has chances and first tables of its own.",
)


def build_report(run: Run, config: Config, found: Sequence[Found]) -> Document:
    """Everything on the page."""
    labels = _labels(found)
    named = list(zip(labels, found, strict=True))
    return Document(
        title="Do concepts become linear by prediction alone?",
        lead=_LEAD,
        verdict=verdict([row for each in found for row in rows(each)]),
        banner=smoke_banner(config, PRESETS),
        command=run.command,
        facts=(
            ("Settings", str(len(found))),
            ("Seeds a setting", str(config.seeds)),
            ("Converged", f"{sum(int(each.converged.sum()) for each in found)} of {len(found) * config.seeds}"),
            ("Steps", f"{config.steps}, full batch"),
        ),
        sections=tuple(each for each in _sections(named, config) if each.blocks),
        notes=_NOTES,
    )


def _sections(named: Sequence[tuple[str, Found]], config: Config) -> tuple[Section, ...]:
    reached = [(label, each) for label, each in named if each.converged.any()]
    courses = (
        ("unembed.within", "One concept in the unembedding g, during training"),
        ("embed.within", "One concept in the embedding f, during training"),
    )
    return (
        Section(title="Which seeds reached the floor", blocks=(_floor(named, config), _losses(named, config))),
        Section(
            title="How linear concepts are",
            blocks=(
                paragraphs(*(_claim(label, each) for label, each in named)),
                _linear(named),
                *(_course(reached, config, name, title) for name, title in courses if reached),
            ),
        ),
        Section(title="Concept by concept", blocks=tuple(_cross(label, each) for label, each in reached)),
    )


def _labels(found: Sequence[Found]) -> list[str]:
    """What tells the settings apart, a label each."""
    parts = []
    for each in found:
        setting = each.setting
        parts.append(
            (
                f"m = {setting.m}, d = {setting.d}",
                setting.dependence,
                setting.optimiser,
                f"init {setting.init:g}",
                f"decay {setting.weight_decay:g}" if setting.weight_decay else "",
            )
        )
    varies = [len(set(values)) > 1 for values in zip(*parts, strict=True)]
    return [
        ", ".join(part for part, kept in zip(each, varies, strict=True) if kept and part) or each[0] for each in parts
    ]


def _floor(named: Sequence[tuple[str, Found]], config: Config) -> Table:
    def cells(each: Found) -> tuple[int | float | None, ...]:
        last = each.excess[:, -1]
        reached = last[each.converged]
        stuck = last[~each.converged]
        medians = (float(np.median(some)) if len(some) else None for some in (reached, stuck))
        return (int(each.converged.sum()), len(last), *medians, each.entropy)

    return Table(
        name="floor",
        title="Excess loss",
        caption=f"Medians over seeds, in nats; a seed has converged with an excess of {config.converged:g} or less.",
        corner="Setting",
        columns=headings(("Converged", "Seeds", "Excess of the converged", "Excess of the others", "Entropy floor")),
        rows=tuple((label, cells(each)) for label, each in named),
    )


def _linear(named: Sequence[tuple[str, Found]]) -> Table:
    def cells(each: Found, record: int) -> tuple[Estimate | float | None, ...]:
        return (*(each.estimate(name, record) for name in _COLUMNS), by_chance(each.setting.d))

    return Table(
        name="cosines",
        title="Cosines of concept directions",
        caption="f embeds contexts, g unembeds tokens. Means over concepts and converged seeds, after training and, as "
        "a control, before it.",
        corner="Setting",
        columns=headings((*_COLUMNS.values(), "Random: |cosine|")),
        rows=tuple(
            (label + said, cells(each, record))
            for label, each in named
            for said, record in (("", -1), (", before training", 0))
        ),
    )


def _claim(label: str, each: Found) -> str:
    n, reached = len(each.excess), int(each.converged.sum())
    if not reached:
        return f"{label}: none of {n} seeds converged, and nothing is claimed."
    said = {name: _brackets(each.estimate(name)) for name in _COLUMNS}
    return (
        f"{label}: {reached} of {n} seeds converged. In these, matched pairs of one concept have a cosine of "
        f"{said['unembed.within']} in the unembedding and {said['embed.within']} in the embedding; the directions of "
        f"two concepts have an absolute cosine of {said['unembed.across']} and {said['embed.across']}, where random "
        f"ones have {number(by_chance(each.setting.d), 3)}; and a concept's two directions have a cosine of "
        f"{said['align.same']}."
    )


def _brackets(estimate: Estimate | None) -> str:
    return "no number" if estimate is None else Estimate(estimate.value, estimate.low, estimate.high, None).said(3)


def _losses(named: Sequence[tuple[str, Found]], config: Config) -> LineChart:
    lines = []
    for label, each in named:
        for kept, said in ((each.converged, ""), (~each.converged, " (stuck)")):
            if kept.any():
                medians = np.log10(np.maximum(np.median(each.excess[kept], axis=0), 1e-12))
                points = (Point(step, float(y)) for step, y in zip(_steps(config), medians, strict=True))
                lines.append(Line(label + said, tuple(points)))
    return LineChart(
        name="excess",
        title="Excess loss during training",
        caption=f"Medians over seeds; the limit is at {number(math.log10(config.converged))}.",
        x="step",
        y="log10 of the excess in nats",
        lines=tuple(lines),
    )


def _course(named: Sequence[tuple[str, Found]], config: Config, name: str, title: str) -> LineChart:
    lines = [
        Line(label, tuple(_point(each, name, record, step) for record, step in enumerate(_steps(config))))
        for label, each in named
    ]
    return LineChart(
        name=name.replace(".", "-"),
        title=title,
        caption="Cosine between the differences of matched pairs, mean over concepts and converged seeds.",
        x="step",
        y="cosine",
        lines=tuple(lines),
        chance=0.0,
    )


def _point(each: Found, name: str, record: int, step: int) -> Point:
    found = each.estimate(name, record)
    assert found is not None  # a line is drawn only where some seed converged
    return Point(step, found.value, found.low, found.high)


def _steps(config: Config) -> list[int]:
    return [record * config.steps // RECORDS for record in range(RECORDS + 1)]


def _cross(label: str, each: Found) -> HeatMap:
    mean = each.cross[each.converged].mean(0)
    names = tuple(f"concept {i + 1}" for i in range(each.setting.m))
    return HeatMap(
        name=f"cross-{each.setting.name.replace('.', '_')}",
        title=f"Unembedding against embedding, {label}",
        caption=f"Cosines of mean differences, averaged over {int(each.converged.sum())} converged seeds.",
        rows=names,
        columns=names,
        values=tuple(tuple(float(value) for value in row) for row in mean),
        low=0.0,
        high=1.0,
        rows_label="in g",
        columns_label="in f",
    )
