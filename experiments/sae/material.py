"""What is trained on and measured with: the model, its twin with random weights, passages and their states."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from torch import Tensor

from experiments.options import note_model
from experiments.sae.config import Config
from probes.controls.baselines import random_model
from probes.sae.source import OUTLIER, SiteStatistics
from workbench.artifacts.artifact import Origin
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.packaged import packaged
from workbench.data.running_text import load_passages
from workbench.data.states import States
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.environment import code_version
from workbench.runs.files import JSON
from workbench.runs.run import Run

SAMPLE = 16_384
"""Training states that baselines are fitted on and densities are counted in."""

HELD_OUT_SHARE = 0.1
"""Of modules, rows or chapters, from which held-out passages are drawn."""


@dataclass(frozen=True, eq=False)
class StateSource:
    """A model with its states of all passages."""

    run: Run
    config: Config
    model: Model
    train: Dataset
    held_out: Dataset
    random: bool = False
    """Whether its weights are random."""

    @property
    def site(self) -> Site:
        """Where states are read."""
        return self.model.site() if self.config.layer is None else Site(self.config.layer)

    @property
    def title(self) -> str:
        """What stands before the names of its dictionaries."""
        return "random weights, " if self.random else ""

    def read(self, data: Dataset) -> States:
        """The states of some texts, kept in the run's folder."""
        return States.read(data, self.model, ReadSpec((self.site,)), store=self.run.folder / "activations")

    @cached_property
    def states(self) -> States:
        """Of the training passages."""
        return self.read(self.train)

    @cached_property
    def held_out_states(self) -> States:
        """Of the held-out passages."""
        return self.read(self.held_out)

    @cached_property
    def sample(self) -> Float[Tensor, "item d"]:
        """Training states of the first passages, which are in random order, without those that stand out."""
        return self.usual(self.states.activations.parts[0].arrays[self.site][:SAMPLE].float())

    @cached_property
    def longest(self) -> float:
        """The length above which a state stands out."""
        return SiteStatistics.of(self.states.activations.parts[0].arrays[self.site].float(), OUTLIER).longest

    def usual(self, x: Float[Tensor, "item d"]) -> Float[Tensor, "usual d"]:
        """The states that do not stand out."""
        return x[x.norm(dim=1) <= self.longest]

    def origin(self) -> Origin:
        """Of what is fitted on the training passages."""
        return Origin("", "", None, self.model.name, self.model.digest, self.train.digest, 0, code_version())

    def inputs(self, **more: JSON) -> dict[str, JSON]:
        """What a unit about this source depends on."""
        return {**self.model.identity, "site": str(self.site), "train": self.train.digest, **more}


def load_sources(config: Config, run: Run) -> list[StateSource]:
    """The model, and if it is asked for its twin. Raises DataError for too little text."""
    model = config.load_model()
    note_model(run, model)
    train, held_out = split_passages(config)
    sources = [StateSource(run, config, model, train, held_out)]
    if config.random_model:
        sources.append(StateSource(run, config, random_model(model), train, held_out, random=True))
    return sources


def split_passages(config: Config) -> tuple[Dataset, Dataset]:
    """Passages to train on and held-out ones, no group in both. Raises DataError where there are too few groups."""
    wanted = config.passages + config.held_out
    data = load_passages(config.text, n=round(1.2 * wanted / (1 - HELD_OUT_SHARE)) + 10 * config.held_out)
    groups = np.unique(data.group)
    if len(groups) < 2:
        raise DataError(f"{config.text} is too short: nothing is left to hold out; give more text")
    drawn = np.random.default_rng(0).permutation(groups)
    apart = np.isin(data.group, drawn[: max(1, round(HELD_OUT_SHARE * len(groups)))])
    rows = [np.flatnonzero(~apart)[: config.passages], np.flatnonzero(apart)[: config.held_out]]
    train, held_out = (data.take(some) for some in rows)
    return train, held_out


def load_concepts(config: Config) -> Dataset:
    """The packaged concepts that latents are to tell."""
    return packaged().subset(config.probed)
