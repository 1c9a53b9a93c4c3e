"""What the report of the comparison consists of, from the findings to the published numbers."""

from collections.abc import Sequence

from experiments.axbench.comparison_charts import (
    concept_heat_map,
    detection_against_steering,
    frontier,
    parts_against_strength,
    score_against_strength,
)
from experiments.axbench.comparison_tables import beyond_tables, details, equal_effect_tables, headline, per_concept
from experiments.axbench.findings import findings, gaps
from experiments.axbench.published import published_tables
from experiments.axbench.results import Results
from workbench.report.blocks import Bullets, Card, Cards, Definition, Definitions, HeatMap, paragraphs
from workbench.report.document import Block, Section

SHADES = (
    "Answers to one instruction, method by method, each at the strength that was chosen for it. The stronger a token's "
    "colour, the more of the concept it carries; full colour is as much as the strongest token has in the held-out "
    "texts with that concept."
)


def comparison_sections(
    results: Results, cards: Sequence[Card] = (), failures: Sequence[str] = (), off_concept: HeatMap | None = None
) -> tuple[Section, ...]:
    """Every section that has something to show; `failures` are what the run says is missing, beside the gaps found.

    `off_concept` shows what steering towards one concept does to the others.

    Raises ReportError as Results does.
    """
    results, missing = results.ranked(), (*failures, *gaps(results, cards))
    sections = {
        "Results": (
            _bullets(findings(results)),
            headline(results).ranked(*_deciding(results)),
        ),
        "Charts": (
            detection_against_steering(results),
            score_against_strength(results),
            parts_against_strength(results),
        ),
        "In detail": tuple(table.ranked(0) for table in details(results)),
        "At equal side effect": (
            frontier(results),
            *(table.ranked(0) for table in equal_effect_tables(results)),
        ),
        "Both directions and other concepts": (
            *(table.ranked(0) for table in beyond_tables(results)),
            off_concept,
        ),
        "By concept": (
            *(concept_heat_map(results, name) for name in ("detection.auroc", "steering.score")),
            *per_concept(results),
        ),
        "Generations side by side": (_cards(results, cards),),
        "What failed": (_bullets(missing) or paragraphs("Nothing: whatever was measured has a number."),),
        "Published numbers": (
            paragraphs("What AxBench's paper reports, for orientation. Nothing here was measured in this run."),
            *published_tables(),
        ),
        "Methods": (_methods(results),),
    }
    kept = {title: tuple(block for block in blocks if block is not None) for title, blocks in sections.items()}
    return tuple(Section(title=title, blocks=blocks) for title, blocks in kept.items() if blocks)


def _deciding(results: Results) -> list[int]:
    """The columns of the first table that its rows are ordered by."""
    return [results.headline.index(name) for name in ("steering.score", "detection.auroc") if name in results.headline]


def _bullets(items: Sequence[str]) -> Bullets | None:
    return Bullets(tuple(items)) if items else None


def _cards(results: Results, cards: Sequence[Card]) -> Cards | None:
    """The cards in the order of the methods."""
    if not cards:
        return None
    order = [note.label for note in results.methods]
    ordered = tuple(sorted(cards, key=lambda card: order.index(card.method)))
    return Cards(name="generations", caption=SHADES, cards=ordered, judged=results.judge is not None)


def _methods(results: Results) -> Block:
    return Definitions(tuple(Definition(note.label, note.source, note.url, note.limits) for note in results.methods))
