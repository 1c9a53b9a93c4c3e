"""The report's first sentence: what probes find, and what the two baselines find as well."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from workbench.runs.rows import Row
from workbench.text import number, number_of

_Cells = Mapping[tuple[str, int], list[float]]
"""Values of all columns, by dataset and layer."""


def verdict(rows: Sequence[Row], models: Sequence[str], position: str) -> str:
    """The mean balanced accuracy at each dataset's best layer, against embeddings and random weights, by model."""
    told = [one for model in models if (one := _of_model(rows, model, position))]
    return f"Mean balanced accuracy at each dataset's best layer: {'; '.join(told)}." if told else ""


def _of_model(rows: Sequence[Row], model: str, position: str) -> str:
    accuracy, loss = (_cells(rows, f"{model}/{position}", metric) for metric in ("accuracy", "validation_loss"))
    if not accuracy:
        return ""
    best = _at_best(accuracy, loss)
    twin = f"{model}, random weights/{position}"
    baselines = {
        "at the embeddings": [value for (_, layer), values in accuracy.items() if layer == -1 for value in values],
        "with random weights": _at_best(_cells(rows, twin, "accuracy"), _cells(rows, twin, "validation_loss")),
    }
    there = {where: fmean(values) for where, values in baselines.items() if values}
    against = " and ".join(f"{number(value, 2)} {where}" for where, value in there.items())
    found = f"{number(fmean(best), 2)} over {number_of(len(best), 'column')} of labels in {model}"
    if not there:
        return found
    more = fmean(best) - max(there.values())
    adds = f"{number(more, 2)} more than" if more > 0 else "no more than"
    return f"{found}, against {against}: {adds} {'the better baseline' if len(there) > 1 else 'this baseline'}"


def _cells(rows: Sequence[Row], method: str, metric: str) -> _Cells:
    cells: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        if (row.method, row.metric) == (method, metric) and None not in (row.concept, row.layer, row.value):
            cells[str(row.concept).partition("/")[0], int(row.layer or 0)].append(float(row.value or 0.0))
    return cells


def _at_best(accuracy: _Cells, loss: _Cells) -> list[float]:
    """The columns' accuracies at the layer of each dataset that has the lowest validation loss."""
    best: dict[str, int] = {}
    for dataset, layer in accuracy:
        if dataset not in best or fmean(loss[dataset, layer]) < fmean(loss[dataset, best[dataset]]):
            best[dataset] = layer
    return [value for dataset, layer in best.items() for value in accuracy[dataset, layer]]
