"""One cell of the sweep: every column of a dataset at one layer, on states [text, d]."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.layer_sweep.datasets import Dataset
from probes.controls import hash_labels, selectivity, shuffled_labels, with_controls
from probes.description_length import online_code
from probes.paths import Chosen, chosen, logistic_path
from probes.solver import Design, row_weight, variance_of
from workbench.evaluation.intervals import Interval, bootstrap, bootstrap_auroc


@dataclass(frozen=True)
class Measured:
    """One probe: what was chosen on validation texts, and what evaluation texts say; None was not asked for."""

    column: str
    C: float
    loss: float
    """Mean log-loss of validation texts, in nats: the layer is chosen by it."""
    accuracy: Interval
    auroc: Interval
    shuffled: Interval
    """Selectivity against shuffled labels."""
    hashed: Interval | None
    """Selectivity against labels by a text's last word."""
    compression: float | None
    """Bits of a code without states by bits of the online code: 1 says that the states tell nothing."""

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Measured":
        """From JSON."""
        return cls(**restored(stored))


def restored(stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record whose intervals became dicts in JSON."""
    return {key: Interval(**value) if isinstance(value, dict) else value for key, value in stored.items()}


@dataclass(frozen=True, eq=False)
class Columns:
    """The labels of a dataset as the solvers take them."""

    y: Float[Tensor, "text column"]
    use: Float[Tensor, "text column"]
    train: Float[Tensor, "text column"]
    validation: Float[Tensor, "text column"]

    @classmethod
    def of(cls, dataset: Dataset) -> "Columns":
        """1 or 0 for each text and column."""
        labels = torch.from_numpy(dataset.labels)
        use = (labels >= 0).float()
        train, validation = (
            use * torch.from_numpy(dataset.split == name).float()[:, None] for name in ("train", "validation")
        )
        return cls((labels == 1).float(), use, train, validation)


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


def choose(x: Float[Tensor, "text d"], columns: Columns, grid: Sequence[float]) -> Probes:
    """Fit all columns at each C on training texts, and choose on validation texts."""
    rows, held_out = columns.train.any(1), columns.validation.any(1)
    use = columns.train[rows]
    design = Design.of(x[rows], row_weight(use))
    variance = variance_of(design, use).clamp_min(1e-12)
    fits = logistic_path(design, columns.y[rows], use, grid, variance=variance)
    return Probes(chosen(fits, grid, x[held_out], columns.y[held_out], columns.validation[held_out]), variance)


def measure(
    dataset: Dataset, x: Float[Tensor, "text d"], grid: Sequence[float], *, described: bool, seed: int
) -> list[dict[str, Any]]:
    """Fit and judge every column; as JSON, what `Measured.of` takes for each."""
    columns = Columns.of(dataset)
    probes = choose(x, columns, grid)
    judged = torch.from_numpy(dataset.split != "validation")
    evaluation = dataset.split[judged] == "evaluation"
    x, y, use = x[judged], columns.y[judged], columns.use[judged]
    group = dataset.group[judged]
    keys = [dataset.keys[row] for row in np.flatnonzero(judged)]
    train = torch.from_numpy(~evaluation)
    controls = {
        "shuffled": shuffled_labels(y, use, train, seed=seed),
        "hashed": hash_labels(keys, y, use, seed=seed),
    }
    found = with_controls(x, y, use, train, probes.penalty, controls)
    scores = probes.scores(x).numpy()[evaluation]
    code = online_code(x, y, use, torch.from_numpy(group), seed=seed) if described else None
    compression = None if code is None else code.blind / code.length
    told = []
    for k, column in enumerate(dataset.columns):
        mine = ~np.isnan(found.task[:, k])
        of = group[evaluation][mine]
        select = {name: selectivity(found.task[:, k], other[:, k])[mine] for name, other in found.control.items()}
        told.append(
            Measured(
                column,
                float(probes.found.C[k]),
                float(probes.found.loss[:, k].min()),
                bootstrap(found.task[mine, k], of),
                bootstrap_auroc(scores[mine, k], y[evaluation, k].numpy()[mine] > 0, of),
                bootstrap(select["shuffled"], of),
                None if np.isnan(select["hashed"]).any() else bootstrap(select["hashed"], of),
                None if compression is None else float(compression[k]),
            )
        )
    return [asdict(one) for one in told]
