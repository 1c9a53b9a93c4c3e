"""What all stages share: the run, the model, and the tasks' pairs, split and shown."""

from dataclasses import dataclass
from functools import cached_property

from experiments.function_vectors.config import Config
from experiments.options import note_model
from steering.function_vectors.prompts import InContextPrompts, Shown, encode_shown
from workbench.data.dataset import Dataset
from workbench.data.in_context import SplitPairs, in_context_tasks
from workbench.data.templates import Template
from workbench.data.word_pairs import WordPair, kind_of, pairs_of
from workbench.models.model import Model
from workbench.runs.files import JSON, digest, plain
from workbench.runs.run import Run

TEMPLATE = Template()
"""How vectors are made and, unless said otherwise, tried."""


@dataclass(frozen=True)
class Case:
    """A task, split and shown by one seed: the unit of measuring."""

    task: str
    seed: int
    kind: str
    split: SplitPairs

    @property
    def name(self) -> str:
        """Of its units and files."""
        return f"{self.task}-{self.seed}"

    @property
    def digest(self) -> str:
        """Of its pairs, as they are split."""
        return digest([list(self.split.train), list(self.split.validation), list(self.split.test)])


@dataclass(frozen=True, eq=False)
class StudyContext:
    """One run."""

    config: Config
    run: Run
    model: Model
    data: Dataset
    tasks: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, run: Run) -> "StudyContext":
        """Load what the configuration names, the model last."""
        data = in_context_tasks(config.source)
        tasks = config.tasks or tuple(relation.name for relation in data.relations)
        model = config.load_model()
        note_model(run, model)
        return cls(config, run, model, data, tasks)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Every task with every seed."""
        return tuple(
            Case(task, seed, kind_of(self.data, relation), SplitPairs.draw(pairs_of(self.data, relation), seed))
            for task, relation in ((task, self.data.relation(task)) for task in self.tasks)
            for seed in self.config.seeds
        )

    def inputs(self, case: Case, *settings: str) -> dict[str, JSON]:
        """What a unit about one case depends on: the model, the pairs, the seed, and these settings."""
        chosen: dict[str, JSON] = {name: plain(getattr(self.config, name)) for name in settings}
        return {**self.model.identity, "pairs": case.digest, "seed": case.seed, "settings": chosen, "version": 3}

    def shown(self, case: Case) -> list[Shown]:
        """The prompts that a vector is made from: questions and demonstrations are training pairs."""
        queries = [case.split.train[k % len(case.split.train)] for k in range(self.config.prompts)]
        return Shown.draw(case.split.train, queries, self.config.shots, case.seed)

    def corrupted(self, case: Case) -> list[Shown]:
        """The same with their answers shuffled; the effects of heads are measured on the first ones."""
        return [each.shuffled(case.seed + k) for k, each in enumerate(self.shown(case))]

    def asked(self, case: Case) -> list[Shown]:
        """Test questions behind training demonstrations."""
        return Shown.draw(case.split.train, self.test(case), self.config.shots, case.seed + 1)

    def test(self, case: Case) -> tuple[WordPair, ...]:
        """The pairs that count."""
        return case.split.test[: self.config.test]

    def encode(self, shown: list[Shown]) -> InContextPrompts:
        """Prompts as tokens."""
        return encode_shown(self.model, TEMPLATE, shown)

    def ask(self, queries: tuple[WordPair, ...], template: Template = TEMPLATE) -> InContextPrompts:
        """Questions without demonstrations."""
        return InContextPrompts.ask(self.model, template, queries)
