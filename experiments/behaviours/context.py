"""What all stages share: the run, the model, the pairs, and the ways of steering."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from experiments.behaviours.config import CONTROLS, LETTERS, Config
from experiments.options import note_model
from steering import METHODS
from workbench.data.behaviour_files import behaviours_of
from workbench.data.behaviours import Behaviour, QuestionForm, behaviour_dataset, chosen_behaviours
from workbench.data.dataset import Dataset
from workbench.methods.capabilities import Steers
from workbench.methods.method import Method
from workbench.models.model import Model
from workbench.models.positions import CONTENT, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.files import JSON, digest, plain
from workbench.runs.run import Run

DEPTHS = (0.3, 0.5, 0.7)
"""Of the layers that are tried where none are named."""
READ = Positions("response")
"""What methods read that have no tokens of their own: all of the answer."""


@dataclass(frozen=True)
class Way:
    """A method with the form of the pairs that it is fitted on."""

    name: str
    method: Method
    form: QuestionForm = "answers"
    shuffled: bool = False
    """Whether half of the pairs that it is fitted on are exchanged."""

    @property
    def title(self) -> str:
        """For readers."""
        fitted = ", fitted on letters" if self.form == "letters" else ""
        return f"{self.method.title}{fitted}{', half of the pairs exchanged' if self.shuffled else ''}"

    def edit(self, artifact: object, strength: float, positions: str) -> tuple:
        """The edits that steer at a strength."""
        assert isinstance(self.method, Steers)
        return self.method.edit(artifact, strength, positions)

    def reads(self, layer: int) -> ReadSpec:
        """What the method reads for a vector at a layer; of the tokens the answer's where it names none."""
        spec = self.method.reads(Site(layer))
        return replace(spec, positions=READ) if spec.positions == CONTENT else spec

    @property
    def identity(self) -> dict[str, JSON]:
        """What its vectors depend on beside the states."""
        return {**self.method.identity, "form": self.form, "shuffled": self.shuffled}


def ways_of(names: tuple[str, ...]) -> tuple[Way, ...]:
    """The methods, then the controls."""
    found = [_way(name) for name in dict.fromkeys(names) if name not in CONTROLS]
    return (*found, _way("random"), replace(found[0], name="shuffled", shuffled=True))


def _way(name: str) -> Way:
    registered = name.removesuffix(LETTERS)
    method = METHODS[registered].make()
    return Way(name, method, "answers" if registered == name else "letters")


@dataclass(frozen=True, eq=False)
class BehaviourContext:
    """One run."""

    config: Config
    run: Run
    model: Model
    every: tuple[Behaviour, ...]
    """All behaviours of the source."""
    ways: tuple[Way, ...]
    layers: tuple[int, ...]

    @classmethod
    def of(cls, config: Config, run: Run) -> "BehaviourContext":
        """Load what the configuration names, the model last. Raises DataError for what is not there."""
        limits = {"train": config.train, "validation": config.validation, "evaluation": config.test}
        every, ways = tuple(each.limited(**limits) for each in behaviours_of(config.source)), ways_of(config.methods)
        model = config.load_model()
        note_model(run, model)
        depths = (Site.at_depth(depth, model.n_layers).layer for depth in DEPTHS)
        return cls(config, run, model, every, ways, tuple(dict.fromkeys(config.layers or depths)))

    @cached_property
    def behaviours(self) -> tuple[Behaviour, ...]:
        """Those that are asked for."""
        return chosen_behaviours(self.every, self.config.behaviours)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the behaviours."""
        return tuple(each.name for each in self.behaviours)

    @cached_property
    def forms(self) -> tuple[QuestionForm, ...]:
        """In which some way is fitted."""
        return tuple(dict.fromkeys(way.form for way in self.ways))

    def dataset(self, form: QuestionForm, behaviours: Sequence[Behaviour] = ()) -> Dataset:
        """Training and validation pairs, by default of those that are asked for: no fit sees others."""
        fitted = [
            replace(each, pairs=each.part("train") + each.part("validation")) for each in behaviours or self.behaviours
        ]
        return behaviour_dataset(fitted, form)

    def inputs(self, *settings: str) -> dict[str, JSON]:
        """What a unit depends on: the model, and these settings."""
        chosen_settings: dict[str, JSON] = {name: plain(getattr(self.config, name)) for name in settings}
        return {**self.model.identity, "settings": chosen_settings, "version": 1}


def pairs_digest(behaviour: Behaviour, *splits: str) -> str:
    """Of the pairs of these splits."""
    return digest([plain(pair) for pair in behaviour.pairs if pair.split in splits])
