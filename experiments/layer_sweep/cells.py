"""One cell of the sweep: every column of a dataset at one layer, on states [text, d]."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.controls.description_length import online_code
from probes.controls.labels import hash_labels, last_word, shuffled_labels, with_controls
from probes.solvers.design import Design, row_weight, scale_of
from probes.solvers.paths import Chosen, balanced, chosen, logistic_path
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError
from workbench.evaluation.count_statistics import CountStatistic, class_mean, pair_share
from workbench.evaluation.intervals import Interval, bootstrap_clusters

TOL = 1e-5
"""Of the fits that choose C: on the packaged set choices and results are those of 1e-7."""


@dataclass(frozen=True)
class MeasuredProbe:
    """One probe: what was chosen on validation texts, and what evaluation texts say; None was not asked for."""

    column: str
    C: float
    loss: float
    """Mean log-loss of validation texts, in nats, both classes counting the same: the layer is chosen by it."""
    accuracy: Interval
    """Balanced: the mean of both classes' accuracies, 0.5 for a probe that knows nothing."""
    auroc: Interval
    shuffled: Interval
    """Selectivity against shuffled labels: balanced accuracy less that of the control."""
    hashed: Interval | None
    """Selectivity against labels by a text's last word; None where that gives the training texts one class only."""
    compression: float | None
    """Bits of the training labels by the shares of the classes alone, by the bits of the online code: 1 says that the
    states tell nothing."""

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "MeasuredProbe":
        """From JSON."""
        return cls(**restored(stored))


def restored(stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record whose intervals became dicts in JSON."""
    return {key: Interval(**value) if isinstance(value, dict) else value for key, value in stored.items()}


@dataclass(frozen=True, eq=False)
class ColumnLabels:
    """The labels of a dataset as the solvers take them, each class of a column weighing the same."""

    y: Float[Tensor, "text column"]
    use: Float[Tensor, "text column"]
    train: Float[Tensor, "text column"]
    validation: Float[Tensor, "text column"]

    @classmethod
    def of(cls, dataset: Dataset) -> "ColumnLabels":
        """From its labels. Raises DataError for a column without both labels in each split."""
        labels = torch.from_numpy(dataset.plain_labels.copy())
        y, use = (labels == 1).float(), (labels >= 0).float()
        parts = {name: use * torch.from_numpy(dataset.split == name).float()[:, None] for name in SPLITS}
        for name, part in parts.items():
            for target, positive, total in zip(dataset.targets, (part * y).sum(0), part.sum(0), strict=True):
                if not 0 < positive < total:
                    raise DataError(
                        f"{dataset.name}/{target.name} has {int(positive)} positive of {int(total)} {name} texts; "
                        "probes need both labels in every split"
                    )
        return cls(y, use, balanced(y, parts["train"]), balanced(y, parts["validation"]))


@dataclass(frozen=True, eq=False)
class Probes:
    """The probe of each column, with the C whose validation loss is lowest."""

    found: Chosen
    variance: Float[Tensor, "d column"]
    """Of each feature over the column's training texts, with which states are standardised."""

    def scores(self, x: Float[Tensor, "text d"]) -> Float[Tensor, "text column"]:
        """The logits."""
        return x @ self.found.weight + self.found.intercept

    @property
    def penalty(self) -> Float[Tensor, "d column"]:
        """What each weight was penalised with."""
        return self.variance / self.found.C


def choose_penalty(x: Float[Tensor, "text d"], columns: ColumnLabels, grid: Sequence[float]) -> Probes:
    """Fit all columns at each C on training texts, and choose on validation texts."""
    rows, held_out = columns.train.any(1), columns.validation.any(1)
    use = columns.train[rows]
    design = Design.of(x[rows], row_weight(use))
    variance = scale_of(design, use)
    fits = logistic_path(design, columns.y[rows], use, grid, variance=variance, tol=TOL)
    return Probes(chosen(fits, grid, x[held_out], columns.y[held_out], columns.validation[held_out]), variance)


def measure_probes(
    dataset: Dataset, x: Float[Tensor, "text d"], grid: Sequence[float], *, described: bool, seed: int
) -> list[dict[str, Any]]:
    """Fit and judge every column; as JSON, what `MeasuredProbe.of` takes for each."""
    columns = ColumnLabels.of(dataset)
    probes = choose_penalty(x, columns, grid)
    judged = torch.from_numpy(dataset.split != "validation")
    train = torch.from_numpy(dataset.split[judged] == "train")
    y, use = columns.y[judged], columns.use[judged]
    keys = [last_word(dataset.items[row].response) for row in np.flatnonzero(judged)]
    controls = {
        "shuffled": shuffled_labels(y, use, train, seed=seed),
        "hashed": hash_labels(keys, y, use, seed=seed),
    }
    found = with_controls(x[judged], y, use, train, probes.penalty, controls, balance=True)
    scores, group = probes.scores(x[judged][~train]).numpy(), dataset.group[judged][~train]
    evaluated = {"task": y[~train].numpy() > 0} | {name: each[~train].numpy() > 0 for name, each in controls.items()}
    compression = _compression(dataset, x, columns, seed) if described else None
    told = []
    for k, target in enumerate(dataset.targets):
        mine = ~np.isnan(found.task[:, k])
        label = {name: each[mine, k] for name, each in evaluated.items()}
        task = class_mean(found.task[mine, k], label["task"])
        other = {name: class_mean(right[mine, k], label[name]) for name, right in found.control.items()}
        there = [name for name, right in found.control.items() if not np.isnan(right[mine, k]).any()]
        auroc, less = pair_share(scores[mine, k], label["task"]), (_less(task, other[name]) for name in there)
        accuracy, area = bootstrap_clusters(group[mine], task, auroc, bounds=(0.0, 1.0))
        selective = bootstrap_clusters(group[mine], *less, bounds=(-1.0, 1.0))
        selectivity = dict(zip(there, selective, strict=True))
        told.append(
            MeasuredProbe(
                column=target.name,
                C=float(probes.found.C[k]),
                loss=float(probes.found.loss[:, k].min()),
                accuracy=accuracy,
                auroc=area,
                shuffled=selectivity["shuffled"],
                hashed=selectivity.get("hashed"),
                compression=None if compression is None else float(compression[k]),
            )
        )
    return [asdict(one) for one in told]


def _less(task: CountStatistic, control: CountStatistic) -> CountStatistic:
    return lambda count: task(count) - control(count)


def _compression(
    dataset: Dataset, x: Float[Tensor, "text d"], columns: ColumnLabels, seed: int
) -> Float[Tensor, "column"]:
    """Bits of the training texts' labels by the shares of the classes alone, by the bits of the online code."""
    rows = columns.train.any(1)
    group = torch.tensor(dataset.group)[rows]
    used = (columns.train[rows] > 0).float()
    code = online_code(x[rows], columns.y[rows], used, group, seed=seed)
    return code.blind / code.length
