"""Tables as data, from which the page and the Markdown file are both made: the two cannot disagree."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from workbench.report.results import Estimate, Results
from workbench.report.story import MethodNote, Story
from workbench.report.vocabulary import DETECTION, STEERING, Metric, metric
from workbench.text import MISSING, markdown, number

_AGAINST_BASELINE = ("steering.win_rate", "steering.difference", "steering.p_holm")
_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


@dataclass(frozen=True)
class Cell:
    """One number as it is read (`text`, `detail`) and as it is sorted and drawn; without a value, `why` says why."""

    text: str = MISSING
    detail: str = ""
    estimate: Estimate | None = None
    why: str = ""

    @property
    def value(self) -> float | None:
        """What the column is sorted by; words have none."""
        return None if self.estimate is None else self.estimate.value

    @property
    def missing(self) -> bool:
        """Whether there is neither a number nor words."""
        return self.estimate is None and self.text == MISSING


_Cells = tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Column:
    """The head of a column, and the range on which its intervals are drawn (None: they are not)."""

    label: str
    meaning: str
    span: tuple[float, float] | None = None
    chance: float | None = None
    words: bool = False
    """Whether its cells are words, which stand left."""


@dataclass(frozen=True)
class Table:
    """A table with one head a row. `cells` is [row][column]."""

    name: str
    title: str
    caption: str
    corner: str
    columns: tuple[Column, ...]
    heads: tuple[str, ...]
    cells: _Cells

    def markdown(self) -> str:
        """The table in GitHub's Markdown, everything escaped, its caption below."""
        lines = [
            _line([self.corner, *(column.label for column in self.columns)]),
            _line([":--", *["--:"] * len(self.columns)], escaped=False),
            *(
                _line([head, *(f"{cell.text} {cell.detail}".strip() for cell in row)])
                for head, row in zip(self.heads, self.cells, strict=True)
            ),
        ]
        return "\n".join([*lines, "", markdown(self.caption)])


def marks(column: Column, cell: Cell) -> dict[str, float] | None:
    """Where a cell's value and interval lie on its column's range, in percent; None where no interval is drawn."""
    if column.span is None or cell.estimate is None or cell.estimate.low is None:
        return None
    start, end = column.span
    low, high = cell.estimate.reach
    places = {"low": low, "value": cell.estimate.value, "high": high}
    if column.chance is not None:
        places["chance"] = column.chance
    return {name: round(100 * (place - start) / (end - start), 2) for name, place in places.items()}


def headline(results: Results, story: Story) -> Table:
    """The first table of the page: each method's headline metrics."""
    return method_table(results, story, "headline", "All methods at a glance", story.headline)


def details(results: Results, story: Story) -> tuple[Table, ...]:
    """Detection and steering in full, and the paired comparisons; each only if the run measured it."""
    found = []
    for name, title, metrics in (
        ("detection", "Detection in detail", DETECTION),
        ("steering", "Steering in detail", STEERING),
        ("comparison", "Paired comparisons with the baseline", ("steering.difference", "steering.p_holm")),
    ):
        if measured := tuple(each for each in metrics if results.has(each)):
            found.append(method_table(results, story, name, title, measured))
    if len(results.seeds) > 1 and results.has("steering.score", by_concept=True):
        found.append(seed_table(results, story))
    return tuple(found)


def per_concept(results: Results, story: Story) -> tuple[Table, ...]:
    """For each metric that the run recorded concept by concept: concepts as rows, methods as columns."""
    metrics = ("detection.auroc", "detection.auroc_with_hard", "steering.score", "steering.chosen_strength")
    return tuple(concept_table(results, story, name) for name in metrics if results.has(name, by_concept=True))


def method_table(results: Results, story: Story, name: str, title: str, metrics: Iterable[str]) -> Table:
    """One row a method, one column a metric, over all concepts."""
    shown = tuple(metric(each) for each in metrics)
    cells = tuple(tuple(cell(results, story, each, note) for each in shown) for note in story.methods)
    columns = tuple(_column(each, story, [row[i] for row in cells]) for i, each in enumerate(shown))
    heads = tuple(note.label for note in story.methods)
    return Table(name, title, _caption(shown, story, "concepts", cells), "Method", columns, heads, cells)


def seed_table(results: Results, story: Story) -> Table:
    """One row a method, one column a repetition: how far the steering scores depend on the seed."""
    shown = metric("steering.score")
    rows = [[results.of_seed(shown.name, note.name, seed) for seed in results.seeds] for note in story.methods]
    cells = _bare(
        tuple(Cell() if each is None else Cell(number(each.value, shown.digits), "", each) for each in row)
        for row in rows
    )
    columns = tuple(Column(f"Seed {seed}", f"{shown.meaning} Repetition {seed}.") for seed in results.seeds)
    caption = f"{shown.meaning} {_caption((shown,), story, 'concepts', cells)}"
    heads = tuple(note.label for note in story.methods)
    return Table("seeds", f"{shown.label} by seed", caption, "Method", columns, heads, cells)


def concept_table(results: Results, story: Story, name: str) -> Table:
    """One row a concept, one column a method, of one metric."""
    shown = metric(name)
    cells = _bare(
        tuple(cell(results, story, shown, note, concept) for note in story.methods) for concept in results.concepts
    )
    columns = tuple(
        _span(Column(note.label, note.source, chance=shown.chance), shown, [row[i] for row in cells])
        for i, note in enumerate(story.methods)
    )
    slug = f"concepts-{name.replace('.', '-').replace('_', '-')}"
    caption = f"{shown.meaning} {_caption((shown,), story, 'texts or answers', cells)}"
    return Table(slug, f"{shown.label} by concept", caption, "Concept", columns, results.concepts, cells)


def cell(results: Results, story: Story, shown: Metric, note: MethodNote, concept: str | None = None) -> Cell:
    """The cell for one question, with the reason when there is no number."""
    estimate = results.estimate(shown.name, note.name, concept)
    if estimate is None:
        return Cell(why=_why(results.recorded(shown.name, note.name, concept), shown, story, note))
    return Cell(number(estimate.value, shown.digits), estimate.bounds(shown.digits), estimate)


def _bare(rows: Iterable[tuple[Cell, ...]]) -> _Cells:
    """The cells, without their `n = 1` where all are single numbers: there it would only be noise."""
    cells = tuple(rows)
    estimates = [each.estimate for row in cells for each in row if each.estimate is not None]
    if any(estimate.low is not None or estimate.n not in (None, 1) for estimate in estimates):
        return cells
    return tuple(tuple(replace(each, detail="") for each in row) for row in cells)


def label(shown: Metric, story: Story) -> str:
    """The head of a metric's column, with the baseline it is against."""
    if shown.name in _AGAINST_BASELINE[:2] and story.baseline is not None:
        return f"{shown.label} against {story.note(story.baseline).label}"
    return shown.label


def _column(shown: Metric, story: Story, cells: list[Cell]) -> Column:
    head = f"{label(shown, story)}{_ARROWS[shown.better]}"
    return _span(Column(head, shown.meaning, chance=shown.chance), shown, cells)


def _span(column: Column, shown: Metric, cells: list[Cell]) -> Column:
    return replace(column, span=span(cells, shown.span))


def span(cells: Iterable[Cell], possible: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """The range on which the intervals of `cells` are drawn: what is possible, else from 0 to the farthest end."""
    ends = [end for each in cells if each.estimate is not None for end in each.estimate.reach]
    found = possible or (min(0.0, *ends), max(0.0, *ends)) if ends else None
    return found if found and found[0] < found[1] else None


def _why(recorded: bool, shown: Metric, story: Story, note: MethodNote) -> str:
    if note.name == story.baseline and shown.name in _AGAINST_BASELINE:
        return "The baseline itself."
    if note.limits:
        return note.limits
    return "Measured, and no value came of it." if recorded else "Not measured in this run."


def _caption(shown: tuple[Metric, ...], story: Story, unit: str, cells: _Cells) -> str:
    shown_beside = " ".join(each.detail for row in cells for each in row)
    parts = ["Means, with 95 % intervals in brackets."] if "[" in shown_beside else []
    parts += [f"n counts {unit}."] if "n = " in shown_beside else []
    parts.append(f"{MISSING} is missing, never zero.")
    if any(each.steering for each in shown) and story.judge is not None:
        parts.append(f"Generations rated by {story.judge}.")
    if any(each.better for each in shown):
        parts.append("↑ higher is better, ↓ lower is better.")
    return " ".join(parts)


def _line(texts: list[str], *, escaped: bool = True) -> str:
    return f"| {' | '.join(markdown(text) if escaped else text for text in texts)} |"
