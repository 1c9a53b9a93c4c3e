"""Probes carried from one dataset to another, and the directions that the causal check uses."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.layer_sweep.cells import ColumnLabels, choose_penalty
from workbench.data.dataset import Dataset

StateLookup = Callable[[int, int], Float[Tensor, "text d"]]
"""The states of a dataset, by its number, at a layer."""


def transfer(
    data: Sequence[Dataset], states: StateLookup, layers: Sequence[int], grid: Sequence[float]
) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy on the evaluation texts of each dataset, of the probes trained on each, at the layer of the trained one.

    States are centred with the mean of the judged dataset's own training texts (no labels are needed for that), and
    the threshold is the training dataset's midpoint or intercept.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for source, layer in enumerate(layers):
        x = centred_states(data[source], states(source, layer))
        for name, (weight, bias) in probes(data[source], x, grid).items():
            judged = {
                target.name: _accuracy(target, centred_states(target, states(at, layer)) @ weight + bias)
                for at, target in enumerate(data)
            }
            found.setdefault(name, {})[data[source].name] = judged
    return found


def probes(
    dataset: Dataset, x: Float[Tensor, "text d"], grid: Sequence[float]
) -> dict[str, tuple[Float[Tensor, "d"], float]]:
    """Weight and bias of a logistic and a mass-mean probe on the training texts of a one-column dataset."""
    found = choose_penalty(x, ColumnLabels.of(dataset), grid).found
    positive, negative = _means(dataset, x)
    apart = positive - negative
    return {
        "logistic": (found.weight[:, 0], float(found.intercept[0])),
        "mass-mean": (apart, -float((positive + negative) @ apart) / 2),
    }


def directions(dataset: Dataset, x: Float[Tensor, "text d"], grid: Sequence[float]) -> dict[str, Float[Tensor, "d"]]:
    """Each probe's direction, as long as the class means are apart along it."""
    positive, negative = _means(dataset, x)
    found = {}
    for name, (weight, _) in probes(dataset, x, grid).items():
        unit = weight / weight.norm()
        found[name] = unit * ((positive - negative) @ unit)
    return found


def centred_states(dataset: Dataset, x: Float[Tensor, "text d"]) -> Float[Tensor, "text d"]:
    """States less the mean of the training texts."""
    return x - x[torch.from_numpy(dataset.split == "train")].double().mean(0).float()


def _means(dataset: Dataset, x: Tensor) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    train, label = torch.from_numpy(dataset.split == "train"), torch.from_numpy(dataset.column(0).copy())
    return tuple(x[train & (label == value)].double().mean(0).float() for value in (1, 0))  # type: ignore[return-value]


def _accuracy(dataset: Dataset, scores: Float[Tensor, "text"]) -> float:
    rows = torch.from_numpy(dataset.rows(0, "evaluation"))
    return float(((scores[rows] > 0) == (torch.from_numpy(dataset.column(0).copy())[rows] == 1)).float().mean())
