"""Every way fitted for every behaviour at every layer, from one read of the pairs in each form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from experiments.behaviours.context import BehaviourContext, Way
from workbench.artifacts.artifact import Artifact
from workbench.data.behaviours import Form, shuffled
from workbench.data.dataset import Dataset
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.models.edits import Edit
from workbench.models.readspec import union
from workbench.runs.files import JSON, digest
from workbench.runs.progress import progress

VectorKey = tuple[str, str, int]
"""Way, behaviour and layer."""


@dataclass(frozen=True, eq=False)
class Vectors:
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


def fit_vectors(context: BehaviourContext) -> Vectors:
    """Stage: every vector, kept in the run and found again; the pairs are read once, if any vector is missing."""
    reading = PairStates(context)
    keys = [(way, name, layer) for way in context.ways for layer in context.layers for name in context.names]
    fitted = {
        (way.name, name, layer): _fit(reading, way, name, layer)
        for way, name, layer in progress("fit", keys, unit="vector")
    }
    return Vectors(context, fitted)


@dataclass(eq=False)
class PairStates:
    """The states that ways are fitted on, read when they are first asked for."""

    context: BehaviourContext

    @cached_property
    def datasets(self) -> dict[tuple[Form, bool], Dataset]:
        """The pairs in every form, as they are and shuffled."""
        found: dict[tuple[Form, bool], Dataset] = {}
        for form in self.context.forms:
            found[form, False] = self.context.dataset(form)
            found[form, True] = shuffled(found[form, False], self.context.config.seed)
        return found

    @cached_property
    def _read(self) -> dict[Form, States]:
        return {form: self._states(form) for form in self.context.forms}

    def _states(self, form: Form) -> States:
        specs = [way.reads(layer) for way in self.context.ways if way.form == form for layer in self.context.layers]
        return States.read(self.datasets[form, False], self.context.model, union(specs))

    def labelled(self, way: Way, behaviour: str, layer: int) -> Labelled:
        """What one fit sees."""
        states = replace(self._read[way.form], dataset=self.datasets[way.form, way.shuffled])
        return states.at(way.reads(layer))[behaviour]


def _fit(reading: PairStates, way: Way, behaviour: str, layer: int) -> Artifact:
    context = reading.context
    inputs: dict[str, JSON] = {
        **context.model.identity,
        "way": way.identity,
        "items": reading.datasets[way.form, way.shuffled].digest_of(behaviour),
        "reads": str(way.reads(layer)),
    }
    path = context.run.unit_file(
        f"fit/{way.name}/{behaviour}/{layer}",
        inputs,
        lambda path: way.method.fit(reading.labelled(way, behaviour, layer)).save(path),
        ".safetensors",
    )
    return Artifact.load(path)
