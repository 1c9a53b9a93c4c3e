"""The sections of the sweep's report that go beyond accuracy: transfer between datasets, and the causal check."""

from collections.abc import Sequence

from experiments.layer_sweep.causal import CausalEffect
from experiments.layer_sweep.sweep import Sweep, mean
from workbench.data.items import slug
from workbench.report.blocks import HeatMap, Table, headings, paragraphs
from workbench.report.document import Section
from workbench.report.estimate import Estimate


def transfers(sweep: Sweep) -> list[Section]:
    """The section on probes carried to other datasets; none if there is one dataset only."""
    if len(sweep.single) < 2:
        return []
    names = tuple(data.name for data in sweep.single)
    found = [
        (variant, probe, tuple(tuple(matrix[source][target] for target in names) for source in names))
        for variant in sweep.variants
        if not variant.random
        for probe, matrix in sweep.transfer(variant).items()
    ]
    figures = [
        HeatMap(
            name=f"transfer-{slug(variant.title)}-{slug(probe)}",
            title=f"{probe} probe, {variant.title}",
            caption="Accuracy on evaluation texts; each probe at the best layer of the dataset it was trained on, "
            "states centred with the judged dataset's own training texts.",
            rows=names,
            columns=names,
            values=values,
            low=0.0,
            high=1.0,
            rows_label="trained on",
            columns_label="judged on",
        )
        for variant, probe, values in found
    ]
    text = [
        f"{figure.title}: {_apart(values):.2f} on other datasets on average, "
        f"{mean(row[at] for at, row in enumerate(values)):.2f} on its own."
        for figure, (_, _, values) in zip(figures, found, strict=True)
    ]
    return [Section(title="Transfer between datasets", blocks=(paragraphs(*text), *figures))]


def _apart(values: Sequence[Sequence[float | None]]) -> float:
    return mean(value for i, row in enumerate(values) for j, value in enumerate(row) if i != j)


def causal(sweep: Sweep) -> list[Section]:
    """The section on what directions do to the model's own answer; none if nothing can be asked."""
    if not sweep.asked:
        return []
    rows = [
        (f"{dataset.name}, {probe}" + (f", {model}" if len(sweep.config.models) > 1 else ""), _effect(found))
        for model in sweep.config.models
        for dataset in sweep.asked
        for probe, found in sweep.causal(dataset, model).items()
    ]
    table = Table(
        name="causal",
        title="What the direction does to the model's own answer",
        caption="Log-odds in nats of the answer yes (TRUE, positive) against no, after four answered examples. "
        "Accuracy is the unedited model's, by the sign of its log-odds against their median. The indirect effect is "
        "the change by adding, as a share of how far apart the two classes are unedited; where the unedited "
        "model is not better than chance, there is none.",
        corner="Dataset, direction",
        columns=headings(("Model's accuracy", "Classes apart", "Change, added", "Change, removed", "Indirect effect")),
        rows=tuple(rows),
    )
    text = (
        "A probe can find what the model does not use. Here each probe's direction is added to texts without the "
        "label and taken away from texts with it, and the model answers itself. An effect counts against a random "
        "direction as long as the mass-mean one; where the unedited model cannot tell the classes "
        "apart, no effect says much.",
    )
    return [Section(title="The causal check", blocks=(paragraphs(*text), table))]


def _effect(found: CausalEffect) -> tuple[Estimate | float | None, ...]:
    accuracy, added, removed = (Estimate.of(getattr(found, name)) for name in ("accuracy", "added", "removed"))
    return accuracy, found.apart, added, removed, found.indirect
