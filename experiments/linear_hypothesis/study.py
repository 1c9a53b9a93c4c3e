"""One run: the measurements as units."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from experiments.linear_hypothesis import measure
from experiments.linear_hypothesis.config import NAME
from experiments.linear_hypothesis.material import Material
from workbench.runs.files import JSON, digest, plain
from workbench.runs.rows import Row

RANDOM = ("random_concepts", "seed")
"""The settings of random concepts."""


@dataclass(frozen=True, eq=False)
class Study(Material):
    """Everything that is measured in one run; measurements are taken when first asked for, and kept in the run."""

    @cached_property
    def subspace(self) -> measure.Subspace:
        """Do the pairs of a concept differ in one direction?"""
        return measure.Subspace(**self._unit("subspace", ("random_pairs", *RANDOM), lambda: measure.subspace(self)))

    @cached_property
    def angles(self) -> measure.Angles:
        """Are unrelated concepts at right angles?"""
        return measure.Angles(**self._unit("angles", RANDOM, lambda: measure.angles(self)))

    @cached_property
    def reading(self) -> list[measure.Reading]:
        """Do directions tell contexts apart, for each set of contexts."""
        found = self._unit("reading", RANDOM, lambda: measure.reading(self), contexts=True)
        return [measure.Reading(**one) for one in found]

    @cached_property
    def writing(self) -> list[measure.Writing]:
        """What writing changes, for each set of contexts."""
        found = self._unit("writing", ("effects", "seed"), lambda: measure.writing(self), contexts=True)
        return [measure.Writing(**one) for one in found]

    def rows(self) -> list[Row]:
        """All numbers that the report shows with an interval, tidy."""
        found = chain(self.subspace.rows(), self.angles.rows(), *(one.rows() for one in (*self.reading, *self.writing)))
        return [Row(experiment=NAME, **fields) for fields in found]

    def _unit(
        self, name: str, settings: tuple[str, ...], compute: Callable[[], object], *, contexts: bool = False
    ) -> Any:
        """A measurement as a unit, which depends on these settings and, where it reads them, on the contexts."""
        inputs: dict[str, JSON] = {
            **self.model.identity,
            "items": digest([[one.name, one.kind, one.given, one.pairs.tolist()] for one in self.concepts]),
            "settings": {setting: plain(getattr(self.config, setting)) for setting in settings},
            "version": 2,
        }
        if contexts:
            inputs["contexts"] = digest([[number, vars(each)] for number, each in self.asked])
        return self.run.unit(name, inputs, compute)
