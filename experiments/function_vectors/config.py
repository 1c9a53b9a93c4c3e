"""The settings of the experiment, and its presets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.options import ModelOptions, Precision
from workbench.runs.fields import at_least, check_known, some

NAME = "function_vectors"

_LISTS = ("list-first", "list-last", "list-first-capital", "list-last-capital")
_TASKS = ("present-past", "singular-plural", "verb-agent", "antonym", "country-capital", "english-french", *_LISTS)


@dataclass(frozen=True)
class Config(ModelOptions):
    """Do a few heads carry a task that was shown in context, as a vector that does the task without it?"""

    source: str = "packaged"
    """`packaged`, or a published task file or a folder of them: JSON lists of {"input", "output"}."""
    tasks: tuple[str, ...] = _TASKS
    """Which of its tasks, of ten inputs or more each; none means all, which is the default of another source."""
    exact: tuple[str, ...] = ("present-past",)
    """Tasks of which the effect of every head is measured; of others those of a shortlist, by attribution patching.

    They are some of the tasks; where tasks or a source are named, none but those that are named.
    """
    seeds: tuple[int, ...] = (0,)
    """Each splits the pairs and draws demonstrations anew."""
    shots: int = 10
    """Demonstrations in a prompt."""
    prompts: int = 16
    """Prompts that heads and streams are averaged over."""
    corrupted: int = 5
    """Prompts with shuffled answers that effects are averaged over."""
    shortlist: int = 20
    """Heads whose effects are measured where not all are."""
    heads: int = 10
    """Heads that a vector is the sum of."""
    validation: int = 8
    """Questions that layers are chosen on."""
    test: int = 16
    """Questions that count."""
    every: int = 2
    """Layers are tried at this distance."""
    sentences: int = 3
    """Inputs that are tried in natural text, in several sentences each."""
    steps: int = 200
    """Of rebuilding a vector from what it reads in the vocabulary."""
    dtype: Precision = "float32"
    """Of the model: in bfloat16 a small effect is lost in the rounding of logits."""

    def __post_init__(self) -> None:
        counts = ("prompts", "corrupted", "shortlist", "heads", "validation", "test", "every", "sentences")
        self.check(
            source=some(),
            seeds=some(at_least(0)),
            shots=at_least(2),
            **{name: at_least(1) for name in (*counts, "steps")},
        )

    def look_up(self) -> None:
        """See Options.look_up."""
        from workbench.data.cells import located
        from workbench.data.in_context import SplitPairs, in_context_tasks
        from workbench.data.word_pairs import pairs_of

        data = in_context_tasks(self.source)
        known = [relation.name for relation in data.relations]
        check_known("task", (*self.tasks, *self.exact), known)
        if left_out := [name for name in self.exact if name not in (self.tasks or known)]:
            raise ValueError(
                f"exact names {', '.join(left_out)}, which is not among the tasks {', '.join(self.tasks)}; name it in "
                "both or in neither"
            )
        if len(self.tasks or known) < 2:
            raise ValueError(
                f"{', '.join(self.tasks or known)} is the only task; give two or more: another task's vector is a "
                "control"
            )
        for name in self.tasks or known:
            with located(f"task {name!r} of {self.source}"):
                SplitPairs.draw(pairs_of(data, data.relation(name)), self.seeds[0])
        super().look_up()


def follow_tasks(given: Mapping[str, Any], so_far: Mapping[str, Any]) -> dict[str, Any]:
    """Given settings with those that follow from them where they are not given; `so_far` has all others.

    Of another source all tasks are taken, and every head of none; of tasks that are named, every head of those among
    them that `exact` has.
    """
    settings = dict(given)
    if "source" in given:
        settings = {"tasks": (), "exact": ()} | settings
    if tasks := settings.get("tasks"):
        settings.setdefault("exact", tuple(name for name in so_far["exact"] if name in tasks))
    return settings


ABOUT = {
    "default": "ten packaged tasks, all heads of one; six and a half minutes of one core",
    "smoke": "two tasks with few prompts, to see that it runs; under a minute",
    "paper": "all packaged tasks with more prompts, three times, every head of six; hours",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "smoke": Config(
        tasks=("present-past", "singular-plural"),
        shots=5,
        prompts=4,
        corrupted=2,
        shortlist=8,
        validation=3,
        test=4,
        every=6,
        sentences=1,
        steps=20,
    ),
    "paper": Config(
        tasks=(),
        exact=("antonym", "capitalize", "country-capital", "english-french", "present-past", "singular-plural"),
        seeds=(0, 1, 2),
        prompts=100,
        corrupted=25,
        shortlist=40,
        validation=20,
        test=40,
        every=1,
        sentences=10,
        steps=1000,
    ),
}
