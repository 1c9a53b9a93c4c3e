"""What the sweep tells its readers: a section for each set of columns, and the further evidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.layer_sweep.cells import MeasuredProbe
from experiments.layer_sweep.config import PRESETS
from experiments.layer_sweep.evidence import causal, transfers
from experiments.layer_sweep.sweep import INPUT, Place, Sweep, Variant, mean
from experiments.layer_sweep.verdict import verdict
from experiments.smoke import smoke_banner
from workbench.data.dataset import Dataset
from workbench.data.items import slug
from workbench.evaluation.intervals import Bounds, Interval, bootstrap
from workbench.report.blocks import HeatMap, Table, headings, paragraphs
from workbench.report.charts import Line, LineChart, Point
from workbench.report.document import Document, Section
from workbench.report.estimate import Estimate
from workbench.text import number_of

NOTES = (
    "A text's state is the mean or the last of its tokens' states; BOS, chat header and a text's first token, where "
    "attention sinks, are left out. Probes are logistic "
    "regressions on states standardised with training texts, both classes weighing the same; C and the best layer are "
    "those with the lowest loss on validation texts. Accuracy (balanced), AUROC and selectivity are of evaluation "
    "texts, where hard negatives count as negatives.",
    "Layer -1 is what enters the first block; random weights are those of the architecture's own initialisation. A "
    "concept that these baselines find as well says little about what the model has learnt. A baseline may fall below "
    "chance: a word that is mostly true in training texts is then mostly false in evaluation texts, because both "
    "labels use every word equally often.",
    "Selectivity (Hewitt & Liang 2019, arXiv:1909.03368) is accuracy less that of the same probe with control labels: "
    "shuffled ones, and ones drawn for a text's last word. Compression is the bits that the training labels need if "
    "only the shares of the classes are known, by the bits of the online code (Voita & Titov 2020, arXiv:2003.12298, "
    "who divide one bit a label); at 1 the states tell nothing.",
    "Intervals are widened 95 % bootstraps over evaluation texts; texts about one subject are resampled together.",
)
METRICS: tuple[tuple[str, Callable[[MeasuredProbe], Interval | float | None]], ...] = (
    ("Balanced accuracy", lambda one: one.accuracy),
    ("AUROC", lambda one: one.auroc),
    ("Selectivity, shuffled", lambda one: one.shuffled),
    ("Selectivity, last word", lambda one: one.hashed),
    ("Compression", lambda one: one.compression),
    ("C", lambda one: one.C),
)


@dataclass(frozen=True)
class DatasetGroup:
    """Datasets that are shown together: a concept set by itself, or everything with one column."""

    name: str
    title: str
    data: tuple[Dataset, ...]


def build_report(sweep: Sweep) -> Document:
    """Everything on the page."""
    config = sweep.config
    n = sum(len(dataset.targets) for dataset in sweep.datasets)
    return Document(
        title="Linear probes at every layer",
        lead=f"What can a linear probe tell from the states of {' and '.join(config.models)}, at which layer, and how "
        f"much of it should be believed? {number_of(n, 'column')} of labels in "
        f"{number_of(len(sweep.datasets), 'dataset')}.",
        verdict=verdict(sweep.run.rows(), config.models, config.positions[0]),
        banner=smoke_banner(config, PRESETS),
        command=sweep.run.command,
        facts=(
            ("Models", ", ".join(variant.title for variant in sweep.variants)),
            ("Datasets", ", ".join(f"{dataset.name} ({len(dataset)} texts)" for dataset in sweep.datasets)),
            ("States", ", ".join(config.positions)),
            ("C", ", ".join(f"{C:g}" for C in config.grid)),
        ),
        sections=(
            *(
                section
                for model in config.models
                for group in groups(sweep)
                for section in [_swept(sweep, model, group)]
            ),
            *transfers(sweep),
            *causal(sweep),
        ),
        notes=NOTES,
    )


def groups(sweep: Sweep) -> list[DatasetGroup]:
    """Concept sets one by one, then all datasets of one column."""
    many = [DatasetGroup(slug(data.name), data.name, (data,)) for data in sweep.datasets if len(data.targets) > 1]
    single = (DatasetGroup("statements", "Statements", tuple(sweep.single)),) if sweep.single else ()
    return [*many, *single]


def _swept(sweep: Sweep, model: str, group: DatasetGroup) -> Section:
    name = f"{slug(model)}-{group.name}"
    position = sweep.config.positions[0]
    places = [Place(Variant(model), data, position) for data in group.data]
    return Section(
        title=f"{group.title}: {model}",
        blocks=(
            paragraphs(*_conclusions(sweep, model, places)),
            _table(sweep, name, places),
            _baselines(sweep, name, places),
            _curves(sweep, f"{name}-by-layer", "AUROC", model, group, _area, 0.5, (0.0, 1.0)),
            _curves(
                sweep, f"{name}-selectivity", "Selectivity (shuffled labels)", model, group, _shuffled, 0.0, (-1.0, 1.0)
            ),
            _grid(sweep, name, places),
        ),
    )


def _area(one: MeasuredProbe) -> float | None:
    return one.auroc.value


def _shuffled(one: MeasuredProbe) -> float | None:
    return one.shuffled.value


def _conclusions(sweep: Sweep, model: str, places: Sequence[Place]) -> list[str]:
    found = []
    for place in places:
        layer, cells = sweep.best(place), sweep.cells(place)
        accuracy = mean(one.accuracy.value for one in cells[layer])
        told = f"{place.dataset.name}: validation chooses {_where(layer)}, where balanced accuracy is {accuracy:.2f}"
        if INPUT in cells:
            told += f" ({mean(one.accuracy.value for one in cells[INPUT]):.2f} at the embeddings"
            if sweep.config.random_model:
                twin = Place(Variant(model, random=True), place.dataset, place.position)
                told += f", {mean(one.accuracy.value for one in sweep.cells(twin)[layer]):.2f} with random weights"
            told += ")"
        found.append(told + ".")
    return found


def _table(sweep: Sweep, name: str, places: Sequence[Place]) -> Table:
    rows = []
    for place in places:
        layer = sweep.best(place)
        for one in sweep.cells(place)[layer]:
            head = one.column if len(place.dataset.targets) > 1 else place.dataset.name
            rows.append((head, (str(layer), *(_entry(metric(one)) for _, metric in METRICS))))
    return Table(
        name=f"{name}-best",
        title="At the best layer",
        caption=f"The layer with the lowest validation loss of each dataset; states: {places[0].position}.",
        corner="Column",
        columns=headings(("Layer", *(label for label, _ in METRICS))),
        rows=tuple(rows),
    )


def _baselines(sweep: Sweep, name: str, places: Sequence[Place]) -> Table:
    """The mean over columns by dataset and by how a text becomes a state, for the model and its random twin."""
    rows = []
    for place in places:
        for variant in (v for v in sweep.variants if v.model == place.variant.model):
            for position in sweep.positions(variant):
                other = Place(variant, place.dataset, position)
                layer, cells = sweep.best(other), sweep.cells(other)
                told = [_mean(cells[layer], metric) for label, metric in METRICS if label != "C"]
                rows.append((f"{place.dataset.name}, {_kind(variant)}, {position}", (str(layer), *told)))
    return Table(
        name=f"{name}-baselines",
        title="Positions and baselines",
        caption="Means over the dataset's columns, each at its own best layer.",
        corner="Dataset, weights, state",
        columns=headings(("Layer", *(label for label, _ in METRICS if label != "C"))),
        rows=tuple(rows),
    )


def _curves(
    sweep: Sweep,
    name: str,
    title: str,
    model: str,
    group: DatasetGroup,
    value: Callable[[MeasuredProbe], float | None],
    chance: float,
    bounds: Bounds,
) -> LineChart:
    lines = []
    for variant in (v for v in sweep.variants if v.model == model):
        for position in sweep.positions(variant):
            found = [sweep.cells(Place(variant, data, position)) for data in group.data]
            points = [
                _point(layer, [value(one) for cells in found for one in cells[layer]], bounds) for layer in found[0]
            ]
            lines.append(Line(f"{_kind(variant)}, {position}", tuple(points)))
    return LineChart(
        name=name,
        title=f"{title} by layer",
        caption=f"Mean over {_columns(group)}, with its 95 % interval over them.",
        x="layer (-1: embeddings)",
        y=title,
        lines=tuple(lines),
        chance=chance,
    )


def _columns(group: DatasetGroup) -> str:
    return f"{number_of(sum(len(data.targets) for data in group.data), 'column')} of labels"


def _point(layer: int, values: Sequence[float | None], bounds: Bounds) -> Point:
    numbers = np.array([np.nan if value is None else value for value in values], dtype=float)
    found = bootstrap(numbers, bounds=bounds)
    assert found.value is not None, "accuracy is always measured"
    return Point(layer, found.value, found.low, found.high)


def _grid(sweep: Sweep, name: str, places: Sequence[Place]) -> HeatMap:
    layers = list(sweep.cells(places[0]))
    heads = [
        (one.column if len(place.dataset.targets) > 1 else place.dataset.name, place, k)
        for place in places
        for k, one in enumerate(sweep.cells(place)[layers[0]])
    ]
    return HeatMap(
        name=f"{name}-auroc",
        title="AUROC by column and layer",
        caption=f"Evaluation texts; states: {places[0].position}.",
        rows=tuple(head for head, _, _ in heads),
        columns=tuple(str(layer) for layer in layers),
        values=tuple(tuple(sweep.cells(place)[layer][k].auroc.value for layer in layers) for _, place, k in heads),
        low=0.5,
        high=1.0,
        rows_label="column",
        columns_label="layer",
    )


def _entry(value: Interval | float | None) -> Estimate | float | None:
    """An interval as the report takes it."""
    return Estimate.of(value) if isinstance(value, Interval) else value


def _mean(cells: Sequence[MeasuredProbe], metric: Callable[[MeasuredProbe], Interval | float | None]) -> float | None:
    found = [value.value if isinstance(value, Interval) else value for value in map(metric, cells)]
    there = [value for value in found if value is not None]
    return mean(there) if there else None


def _kind(variant: Variant) -> str:
    return "random" if variant.random else "trained"


def _where(layer: int) -> str:
    return "the embeddings" if layer == INPUT else f"block {layer}"
