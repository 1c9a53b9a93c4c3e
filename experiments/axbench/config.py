"""The settings of the experiment, and its presets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from experiments.command import RunOptions
from experiments.options import ConceptOptions
from probes import METHODS as PROBES
from steering import METHODS as STEERING
from workbench.runs.fields import above, at_least, check_fields, check_known, some

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.methods.method import Method

METHODS = STEERING | PROBES
"""All methods."""
WRITERS = (
    *("diffmean", "pca", "lat", "ssv", "reps", "reft_r1", "reft_r1_compat", "loreft", "lora", "random", "prompt"),
    *("probe", "sft"),
)
"""Those of AxBench's tables that steer, and RePS, which followed them."""
OF_DICTIONARY = ("sae", "sae_a")
"""Methods that need a dictionary."""
FORMS = ("diffmean_text", "pca_compat", "lat_compat", "ssv_compat", "reps_compat")
"""Forms of methods that steer as published, and DiffMean of whole texts."""
READERS = (
    *("integrated_gradients", "integrated_gradients_compat", "input_x_gradient", "input_x_gradient_compat"),
    *("prompt_detection", "prompt_detection_compat", "bag_of_words"),
)
"""Those that only read, also as published."""
PAPER = (*WRITERS, *OF_DICTIONARY, *FORMS, *READERS)
"""Every method of AxBench's tables, as it is here and as published."""
MAIN = ("diffmean", "pca", "lat", "reft_r1", "sae", "sae_a", "random", "prompt", "probe", "bag_of_words")
"""The methods of the main comparison."""
READER = "probe"
"""The method that reads answers, where no judge is asked."""
NAME = "axbench"
DICTIONARY = "smollm2-135m-instruct"
"""The one that is shipped, of the default model at its default layer."""
UNSTEERED = "unsteered"
"""The method of the rows that say what the model does when nobody steers it."""


@dataclass(frozen=True)
class Config(ConceptOptions):
    """Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148)."""

    layers: tuple[int, ...] = ()
    """Blocks whose output is read and written; none means the one at 0.6 of the depth."""
    methods: tuple[str, ...] = MAIN
    """Which methods are fitted and compared on detection. `--preset paper` takes all of AxBench's tables, in the forms
    as published too (`_compat`); more can be named."""
    dictionary: str = DICTIONARY
    """What the SAE methods take latents from: a name, file, folder or hub id; see workbench.exchange.dictionaries.
    Where `--model` or `--layers` is given without it, they are left out of the preset's methods."""
    steered: tuple[str, ...] = ("diffmean", "pca", "lat", "reft_r1", "sae", "sae_a", "random", "prompt")
    """Which of them also steer; where `--methods` is given without it, all that can."""
    strengths: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0, 1.4)
    """Steering strengths to choose from, in units of the largest activation on held-out text."""
    search: Literal["race", "grid"] = "race"
    """`race` rates every strength on a few instructions and the better ones on more; `grid` all of them on all."""
    seeds: tuple[int, ...] = (0,)
    """One repetition of the steering task each: other instructions and other samples."""
    instructions: int = 10
    """Instructions for each concept; either half chooses the strength for the other."""
    max_new_tokens: int = 32
    """Length of a generation."""
    temperature: float = 0.7
    """Of sampling; AxBench uses 1.0."""
    top_p: float = 0.95
    """Of sampling; AxBench uses 1.0."""
    positions: str = "all"
    """Where edits act; see workbench.models.positions. AxBench edits every token."""
    judge: str = "embedded"
    """`embedded` (no LLM), `local:MODEL`, or the base URL of an OpenAI-compatible endpoint."""
    judge_model: str = ""
    """The model's name at the endpoint."""
    match: Literal["none", "kl"] = "none"
    """`kl` also compares the methods at equal side effect: at the strengths that move neutral text by `levels`. The
    linear probe, which reads these answers, is then fitted and compared too."""
    levels: tuple[float, ...] = (0.05, 0.1, 0.3, 1.0)
    """Side effects to compare at, in nats a token."""
    also: tuple[Literal["removal", "off_concept"], ...] = ()
    """`removal`: does the subtracted vector take the concept out of answers that were asked for it? `off_concept`: what
    steering does to the other concepts, read by the linear probe, which is then fitted and compared too."""
    neutral: int = 4
    """Neutral texts on which the side effect of steering is measured."""
    baseline: str = "random"
    """The method that win rates and differences are against; where `--steered` or `--methods` is given without it,
    `random`, or the first that steers."""

    def __post_init__(self) -> None:
        self.check(
            layers=at_least(0),
            methods=some(),
            dictionary=some(),
            strengths=some(at_least(0)),
            seeds=some(at_least(0)),
            instructions=at_least(2),
            max_new_tokens=at_least(1),
            temperature=at_least(0),
            top_p=above(0, high=1),
            positions=some(),
            judge=some(),
            levels=some(above(0)),
            neutral=at_least(1),
        )
        if self.judge.startswith(("http://", "https://")) != bool(self.judge_model):
            raise ValueError(
                f"judge is {self.judge!r} and judge_model {self.judge_model!r}; they go together: --judge with an "
                "endpoint's base URL, and --judge-model with a model's name there"
            )
        check_known("method", (*self.methods, *self.steered), METHODS)
        if missing := set(self.steered) - set(self.methods):
            raise ValueError(f"{sorted(missing)} cannot steer without being among the methods")
        if self.steered and self.baseline not in self.steered:
            raise ValueError(
                f"the baseline {self.baseline!r} is not among the steered methods ({', '.join(self.steered)}); name "
                "one of them, or steer with it too"
            )
        if "removal" in self.also and "prompt" not in self.steered:
            raise ValueError("--also removal needs prompt among the steered methods, which asks for the concept")

    @property
    def compared(self) -> tuple[str, ...]:
        """The methods, and the probe wherever it reads answers."""
        reads = bool(self.steered) and (self.match == "kl" or "off_concept" in self.also)
        return tuple(dict.fromkeys((*self.methods, READER))) if reads else self.methods

    def look_up(self) -> None:
        """See Options.look_up."""
        from workbench.evaluation.judges.names import check_judge

        check_judge(self.judge)
        super().look_up()
        self._check_amounts(self.load_concepts())
        self._check_methods()

    def _check_amounts(self, concepts: "Dataset") -> None:
        """Raises ValueError and DataError for a set with fewer instructions or neutral texts than are asked for."""
        from workbench.data.steering_task import neutral_texts, split_instructions

        for seed in self.seeds:
            split_instructions(concepts, self.instructions, seed)
        if self.steered:
            neutral_texts(concepts, self.neutral)

    def made_methods(self) -> "dict[str, Method[Any]]":
        """The methods by name, in the order of the report, those of a dictionary with this one."""
        from steering.methods.sae import SAE

        made = {name: METHODS[name].make() for name in self.compared}
        return {
            name: replace(method, dictionary=self.dictionary) if isinstance(method, SAE) else method
            for name, method in made.items()
        }

    def _check_methods(self) -> None:
        """Raises ValueError for a method that does not steer and should, or has no place at these layers."""
        from workbench.methods.capabilities import steers
        from workbench.models.load import count_layers
        from workbench.models.sites import DEPTH, Site

        layers = self.layers or (Site.at_depth(DEPTH, count_layers(self.model)).layer,)
        for name, method in self.made_methods().items():
            if name in self.steered and not steers(method):
                raise ValueError(f"{name} only reads and cannot steer: leave it out of --steered")
            method.check_place(self.model, layers)


def follow(given: Mapping[str, Any], so_far: Mapping[str, Any]) -> dict[str, Any]:
    """Given settings with those that follow from them where they are not given; `so_far` has all others.

    The shipped dictionary is of one layer of one model: elsewhere methods that need one are left out. Steered are those
    of the methods that can steer, and the baseline is `random`, or the first method that steers.
    """
    settings = dict(given)
    if {"model", "layers"} & given.keys() and not {"methods", "dictionary"} & given.keys():
        for setting in ("methods", "steered"):
            settings.setdefault(setting, tuple(name for name in so_far[setting] if name not in OF_DICTIONARY))
    elif "methods" in settings:
        check_known("method", settings["methods"], METHODS)  # before torch is imported with those that there are
        from workbench.methods.capabilities import steers

        made = {name: METHODS[name].make() for name in settings["methods"]}
        able = (name for name, method in made.items() if steers(method))
        settings.setdefault("steered", tuple(able))
    if steered := settings.get("steered"):
        settings.setdefault("baseline", "random" if "random" in steered else steered[0])
    return settings


@dataclass(frozen=True)
class ExecutionOptions(RunOptions):
    """Where the work is done, which changes no result; see docs/cluster.md."""

    executor: Literal["local", "processes", "ray"] = "local"
    """Here, in processes of this machine, or on a Ray cluster."""
    workers: int | None = None
    """How many; none leaves it to the executor."""

    def __post_init__(self) -> None:
        check_fields(self, workers=at_least(1))


ABOUT = {
    "default": "the main methods on thirty packaged concepts; 20 to 35 minutes on two cores",
    "smoke": "two concepts and few answers, to see that it runs; a minute",
    "paper": "every method of AxBench's tables in all its forms, equal side effects, removal and other concepts too, "
    "three seeds; about two days of one core, and 17 GB of disk for SFT",
    "full": "the same at AxBench's own number and length of answers, strengths and sampling; most of a week of one "
    "core, or a GPU",
}
"""What each preset is for and how long it takes."""

_ALL = Config(
    methods=PAPER,
    steered=(*WRITERS, *OF_DICTIONARY, *FORMS),
    seeds=(0, 1, 2),
    instructions=24,
    match="kl",
    also=("removal", "off_concept"),
    neutral=12,
)

PRESETS = {
    "default": Config(),
    "smoke": Config(
        limit=2,
        methods=tuple(name for name in MAIN if name != "reft_r1"),
        steered=("diffmean", "random", "prompt"),
        strengths=(0.4, 0.8),
        instructions=4,
        max_new_tokens=16,
        neutral=2,
    ),
    "paper": _ALL,
    "full": replace(
        _ALL,
        strengths=(0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0),
        instructions=10,
        max_new_tokens=128,
        temperature=1.0,
        top_p=1.0,
        neutral=36,
    ),
}
