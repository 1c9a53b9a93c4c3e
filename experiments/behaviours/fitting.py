"""Every way fitted for every behaviour at every layer, from one read of the pairs in each form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from experiments.behaviours.context import BehaviourContext, Way
from workbench.artifacts.artifact import Artifact
from workbench.data.behaviours import QuestionForm, shuffled
from workbench.data.dataset import Dataset
from workbench.data.states import States
from workbench.models.edits import Edit
from workbench.models.readspec import union
from workbench.runs.files import JSON, digest
from workbench.runs.progress import progress

VectorKey = tuple[str, str, int]
"""Way, behaviour and layer."""


@dataclass(frozen=True, eq=False)
class BehaviourVectors:
    """What was fitted."""

    context: BehaviourContext
    artifacts: Mapping[VectorKey, Artifact]

    def edit(self, way: str, behaviour: str, layer: int, strength: float) -> tuple[Edit, ...]:
        """The edits that steer towards a behaviour."""
        mine = next(each for each in self.context.ways if each.name == way)
        return mine.edit(self.artifacts[way, behaviour, layer], strength, self.context.config.positions)

    def digest(self, behaviour: str) -> str:
        """Of all that was fitted for a behaviour."""
        mine = {str(key): one.content_digest for key, one in self.artifacts.items() if key[1] == behaviour}
        return digest(mine)


def fit_vectors(context: BehaviourContext) -> BehaviourVectors:
    """Stage: every vector, kept in the run and found again; the pairs are read once, if any vector is missing."""
    reading = PairStates(context)
    fitted: dict[VectorKey, Artifact] = {}
    for way, layer in progress("fit", [(way, layer) for way in context.ways for layer in context.layers], unit="fit"):
        fitted |= {(way.name, name, layer): one for name, one in _fit(reading, way, layer).items()}
    return BehaviourVectors(context, fitted)


@dataclass(eq=False)
class PairStates:
    """The states that ways are fitted on, read when they are first asked for."""

    context: BehaviourContext

    @cached_property
    def datasets(self) -> dict[tuple[QuestionForm, bool], Dataset]:
        """The pairs in every form, as they are and shuffled."""
        found: dict[tuple[QuestionForm, bool], Dataset] = {}
        for form in self.context.forms:
            found[form, False] = self.context.dataset(form)
            found[form, True] = shuffled(found[form, False], self.context.config.seed)
        return found

    @cached_property
    def _read(self) -> dict[QuestionForm, States]:
        return {form: self._states(form) for form in self.context.forms}

    def _states(self, form: QuestionForm) -> States:
        specs = [way.reads(layer) for way in self.context.ways if way.form == form for layer in self.context.layers]
        return States.read(self.datasets[form, False], self.context.model, union(specs))

    def states(self, way: Way, layer: int) -> States:
        """What a fit sees."""
        return replace(self._read[way.form], dataset=self.datasets[way.form, way.shuffled]).at(way.reads(layer))


def _fit(reading: PairStates, way: Way, layer: int) -> dict[str, Artifact]:
    """By behaviour; each a unit, and those that are missing are fitted together."""
    context, data = reading.context, reading.datasets[way.form, way.shuffled]
    about: dict[str, JSON] = {**context.model.identity, "way": way.identity, "reads": str(way.reads(layer))}
    units = {f"fit/{way.name}/{layer}/{name}": name for name in context.names}

    def write(paths: Mapping[str, Path]) -> dict[str, JSON]:
        chosen = reading.states(way, layer).select([units[unit] for unit in paths])
        for artifact, path in zip(way.method.fit_all(chosen), paths.values(), strict=True):
            artifact.save(path)
        return dict.fromkeys(paths)

    inputs = {unit: about | {"items": data.digest_of(name)} for unit, name in units.items()}
    files = context.run.units.files(inputs, write, ".safetensors")
    return {units[unit]: Artifact.load(stored.path) for unit, stored in files.items()}
