"""A training on disk: weights, optimiser, counters, the scale of states and the curve, whole or absent."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor

from probes.sae.source import SiteStatistics
from probes.sae.step import TrainState
from workbench.models.sites import Site
from workbench.runs.errors import DamagedFile
from workbench.runs.files import canonical
from workbench.runs.tensors import read_tensors, write_tensors

log = logging.getLogger(__name__)

Curve = list[dict[str, float]]
"""What was logged of one dictionary: step, loss, L0, explained variance and so on."""


@dataclass(eq=False)
class Progress:
    """Several dictionaries on their way: what a checkpoint holds."""

    states: list[TrainState]
    curves: list[Curve]
    statistics: dict[Site, SiteStatistics]
    done: int = 0
    """Steps, and so the number of the stream's next batch. There is no other randomness: a seed gives the weights to
    begin with, and a batch is determined by its number."""


def write_checkpoint(path: Path, key: str, progress: Progress) -> None:
    """Write a checkpoint atomically. Raises StorageError."""
    tensors: dict[str, Tensor] = {}
    for number, state in enumerate(progress.states):
        for leaf, value in enumerate(jax.tree.leaves(state)):
            tensors[f"{number}.{leaf}"] = torch.from_numpy(np.array(value))
    for site, one in progress.statistics.items():
        tensors[f"mean.{site}"] = one.mean.contiguous()
    numbers = {str(site): [one.scale, one.longest] for site, one in progress.statistics.items()}
    note = {"key": key, "done": progress.done, "curves": progress.curves, "statistics": numbers}
    write_tensors(path, canonical(note), tensors)


def read_checkpoint(path: Path, key: str, states: Sequence[TrainState]) -> Progress | None:
    """The progress of a training that began with `states`, or None without a checkpoint of it.

    One that is damaged counts as none, as the log says. Raises StorageError for one that cannot be read.
    """
    if not path.exists():
        return None
    try:
        note, tensors = read_tensors(path)
    except DamagedFile as error:
        log.warning("%s: training from the start", error)
        return None
    held = json.loads(note)
    if held["key"] != key:
        log.warning("%s is the checkpoint of another training: training from the start", path)
        return None
    statistics = {
        Site.parse(name): SiteStatistics(tensors[f"mean.{name}"], *numbers)
        for name, numbers in held["statistics"].items()
    }
    restored = [_restored(state, number, tensors) for number, state in enumerate(states)]
    return Progress(restored, held["curves"], statistics, held["done"])


def _restored(state: TrainState, number: int, tensors: dict[str, Tensor]) -> TrainState:
    leaves, structure = jax.tree.flatten(state)
    stored: list[Any] = [jax.numpy.array(tensors[f"{number}.{leaf}"].numpy()) for leaf in range(len(leaves))]
    return jax.tree.unflatten(structure, stored)
