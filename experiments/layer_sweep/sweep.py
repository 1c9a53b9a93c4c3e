"""The sweep: models, datasets, positions and layers; every cell is a unit of work that a killed run keeps."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import nan
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.layer_sweep.causal import QUESTIONS, CausalEffect, effect, random_like
from experiments.layer_sweep.cells import MeasuredProbe, measure_probes
from experiments.layer_sweep.config import NAME, Config, ProbedPosition
from experiments.layer_sweep.transfer import directions, transfer
from probes.controls.baselines import EMBEDDINGS, random_model
from workbench.data.dataset import Dataset
from workbench.data.named import datasets
from workbench.evaluation.intervals import Interval
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.positions import CONTENT
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.files import JSON, digest
from workbench.runs.progress import progress
from workbench.runs.rows import Row, spread
from workbench.runs.run import Run

INPUT = -1
"""The layer number of what enters the first block."""


@dataclass(frozen=True)
class Variant:
    """A model, as it was trained or with random weights."""

    model: str
    random: bool = False

    @property
    def title(self) -> str:
        """For tables and figures."""
        return f"{self.model}, random weights" if self.random else self.model


@dataclass(frozen=True)
class Place:
    """Where probes read: everything about a cell but its layer."""

    variant: Variant
    dataset: Dataset
    position: ProbedPosition


@dataclass(frozen=True, eq=False)
class Sweep:
    """A run of the sweep; what is asked for is computed once, from the units that are there."""

    run: Run
    config: Config

    @cached_property
    def datasets(self) -> list[Dataset]:
        """What is probed for."""
        return datasets(self.config.data, self.config.limit, self.config.seed)

    @property
    def variants(self) -> list[Variant]:
        """The models, each followed by its random twin."""
        twins = (False, True) if self.config.random_model else (False,)
        return [Variant(name, random) for name in self.config.models for random in twins]

    @property
    def places(self) -> list[Place]:
        """Models by datasets by positions."""
        return [
            Place(variant, dataset, position)
            for variant in self.variants
            for dataset in self.datasets
            for position in self.positions(variant)
        ]

    def positions(self, variant: Variant) -> tuple[ProbedPosition, ...]:
        """How a variant's texts become states: a random twin is probed in the first way only."""
        return self.config.positions[:1] if variant.random else self.config.positions

    @cache  # noqa: B019 (a sweep lives as long as its run)
    def model(self, variant: Variant) -> Model:
        """The model, loaded when a unit needs it."""
        model = load(variant.model, dtype=self.config.dtype, device=self.config.device)
        return random_model(model, seed=self.config.seed) if variant.random else model

    def layers(self, variant: Variant) -> tuple[int, ...]:
        """The layers that are probed."""
        return self.config.layers or tuple(range(INPUT, self.model(variant).n_layers))

    @cache  # noqa: B019
    def cells(self, place: Place) -> dict[int, list[MeasuredProbe]]:
        """What each layer gave, by layer; in the order of the dataset's targets."""
        layers, found = self.layers(place.variant), {}
        states = self.states(place, layers)
        settings: dict[str, JSON] = {"description_length": self.config.description_length}
        for layer in progress(f"{place.variant.title}, {place.dataset.name} ({place.position})", layers, unit="layer"):
            stored = self._unit(place, f"layer{layer}", settings, lambda layer=layer: self._cell(states, layer))
            found[layer] = [MeasuredProbe.of(one) for one in stored]
        return found

    def states(self, place: Place, layers: Sequence[int]) -> "_Lazy":
        """The states [text, d] of a place by layer, read when the first one is asked for."""
        return _Lazy(self, place, layers)

    def _cell(self, states: "_Lazy", layer: int) -> list[dict]:
        config = self.config
        return measure_probes(
            states.place.dataset, states[layer], config.grid, described=config.description_length, seed=config.seed
        )

    def _unit(self, place: Place, what: str, settings: dict[str, JSON], compute: Callable[[], object]) -> Any:
        name = f"{place.variant.title}/{place.dataset.name}/{place.position}/{what}"
        inputs = self._inputs(place.variant, place.dataset.digest, settings)
        return self.run.unit(name, inputs | {"position": place.position}, compute)

    def _inputs(self, variant: Variant, items: str, settings: dict[str, JSON]) -> dict[str, JSON]:
        """What every unit of the sweep depends on, and what one depends on beside it."""
        common = {"grid": list(self.config.grid), "seed": self.config.seed, "tokens": str(CONTENT)}
        return {**self.model(variant).identity, "items": items, "settings": common | settings, "version": 2}

    def best(self, place: Place) -> int:
        """The layer whose validation loss, over columns, is lowest."""
        cells = self.cells(place)
        return min(cells, key=lambda layer: sum(one.loss for one in cells[layer]))

    @property
    def single(self) -> list[Dataset]:
        """The datasets of one column, between which probes can be carried."""
        return [dataset for dataset in self.datasets if len(dataset.targets) == 1]

    @cache  # noqa: B019
    def transfer(self, variant: Variant) -> dict[str, dict[str, dict[str, float]]]:
        """Accuracy by probe, training dataset and judged dataset; each probe at its own dataset's best layer."""
        position = self.config.positions[0]
        places = [Place(variant, dataset, position) for dataset in self.single]
        layers = [self.best(place) for place in places]

        def compute() -> dict[str, dict[str, dict[str, float]]]:
            states = [self.states(place, layers) for place in places]
            return transfer(self.single, lambda at, layer: states[at][layer], layers, self.config.grid)

        items = digest([[dataset.name, dataset.digest] for dataset in self.single])
        inputs = self._inputs(variant, items, {"layers": list(layers)})
        return self.run.unit(f"{variant.title}/transfer", inputs | {"position": position}, compute)

    @cache  # noqa: B019
    def causal(self, dataset: Dataset, model: str) -> dict[str, CausalEffect]:
        """What the directions of the blocks up to the best one do to the model's own answer, by probe."""
        place = Place(Variant(model), dataset, "last")
        last = max(self.best_in(place), 0)
        blocks = range(max(0, last + 1 - self.config.causal_blocks), last + 1)

        def compute() -> dict[str, dict]:
            states = self.states(place, blocks)
            found = {block: directions(dataset, states[block], self.config.grid) for block in blocks}
            steps = {name: {block: found[block][name] for block in blocks} for name in found[last]}
            steps["random"] = random_like(steps["mass-mean"], self.config.seed)
            live = self.model(place.variant)
            return {name: effect(live, dataset, step, seed=self.config.seed).stored() for name, step in steps.items()}

        found = self._unit(place, "causal", {"blocks": list(blocks)}, compute)
        return {name: CausalEffect.of(one) for name, one in found.items()}

    def best_in(self, place: Place) -> int:
        """The best layer of a place, or of the dataset's first position where that one was not swept."""
        swept = place.position in self.config.positions
        return self.best(place if swept else Place(place.variant, place.dataset, self.config.positions[0]))

    @property
    def asked(self) -> list[Dataset]:
        """The datasets with a question that the model can answer itself."""
        return [
            dataset for dataset in self.single if dataset.targets[0].name in QUESTIONS and self.config.causal_blocks
        ]

    def rows(self) -> list[Row]:
        """Every number of the sweep, tidy: method is model / position / probe, concept is dataset / column."""
        return [*self._cell_rows(), *self._transfer_rows(), *self._causal_rows()]

    def _cell_rows(self) -> Iterator[Row]:
        for place in self.places:
            for layer, cells in self.cells(place).items():
                for one in cells:
                    for metric, value in _numbers(one).items():
                        yield _row(
                            f"{place.variant.title}/{place.position}", metric, value, place.dataset.name, one, layer
                        )

    def _transfer_rows(self) -> Iterator[Row]:
        for variant in self.variants:
            for probe, matrix in self.transfer(variant).items():
                for source, judged in matrix.items():
                    for target, value in judged.items():
                        concept, method = f"{source} -> {target}", f"{variant.title}/{probe}"
                        yield Row(experiment=NAME, method=method, metric="transfer", value=value, concept=concept)

    def _causal_rows(self) -> Iterator[Row]:
        for model in self.config.models:
            for dataset in self.asked:
                for probe, found in self.causal(dataset, model).items():
                    for metric in ("accuracy", "added", "removed"):
                        yield Row(
                            experiment=NAME,
                            method=f"{model}/{probe}",
                            metric=f"causal.{metric}",
                            concept=dataset.name,
                            **spread(getattr(found, metric)),
                        )


@dataclass(frozen=True, eq=False)
class _Lazy:
    """The states of a place by layer, read when the first one is asked for."""

    sweep: Sweep
    place: Place
    layers: Sequence[int]

    def __getitem__(self, layer: int) -> Float[Tensor, "text d"]:
        return self._states[layer]

    @cached_property
    def _states(self) -> dict[int, Tensor]:
        model = self.sweep.model(self.place.variant)
        sites = {layer: EMBEDDINGS if layer == INPUT else Site(layer) for layer in self.layers}
        tokens = model.encode(self.place.dataset.conversations)
        found = model.read(tokens, ReadSpec(tuple(sites.values()), CONTENT, self.place.position))
        return {layer: found.arrays[site].to(torch.float32) for layer, site in sites.items()}


def _numbers(one: MeasuredProbe) -> dict[str, Interval | float | None]:
    return {
        "C": one.C,
        "validation_loss": one.loss,
        "accuracy": one.accuracy,
        "auroc": one.auroc,
        "selectivity.shuffled": one.shuffled,
        "selectivity.hashed": one.hashed,
        "compression": one.compression,
    }


def _row(method: str, metric: str, value: Interval | float | None, dataset: str, one: MeasuredProbe, layer: int) -> Row:
    concept = f"{dataset}/{one.column}"
    return Row(experiment=NAME, method=method, metric=metric, concept=concept, layer=layer, **spread(value))


def mean(values: Iterable[float | None]) -> float:
    """Of the numbers that there are; NaN of none."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else nan
