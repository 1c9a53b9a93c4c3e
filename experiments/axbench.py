"""Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148).

Each text is read once; every method is fitted on the stored states for all concepts; detection is scored on texts
that no choice has seen; steering strengths are chosen on one half of the instructions and reported on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from probes import METHODS as PROBES
from steering import METHODS as STEERING

if TYPE_CHECKING:
    from workbench.activations import Activations
    from workbench.artifacts.artifact import Artifact
    from workbench.concepts.concepts import ConceptSet
    from workbench.concepts.labelled import LabelledSet
    from workbench.evaluation.judges.base import Judge, Rating
    from workbench.evaluation.steering import Plan, Sample, Trial
    from workbench.evaluation.summary import Measured
    from workbench.methods import Method
    from workbench.models.generation import Sampling
    from workbench.models.model import Model
    from workbench.models.sites import Site
    from workbench.runs.run import Run

METHODS = STEERING | PROBES
NAME = "axbench"


@dataclass(frozen=True)
class Config:
    """Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148)."""

    model: str = "smollm2-135m-instruct"
    """A built-in name, a local folder, a .gguf file or a Hugging Face id."""
    concepts: str = "packaged"
    """`packaged`, a folder made by AxBench, or a .jsonl or .csv file."""
    limit: int | None = None
    """Use only the first concepts."""
    layers: tuple[int, ...] = ()
    """Blocks whose output is read and written; none means the one at 0.6 of the depth."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which methods are fitted and compared on detection; the report keeps this order."""
    steered: tuple[str, ...] = ("diffmean", "diffmean_text", "pca", "lat", "random", "prompt", "probe")
    """Which of them also steer."""
    strengths: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0, 1.4)
    """Steering strengths to choose from, in units of the largest activation on held-out text."""
    seeds: tuple[int, ...] = (0,)
    """One repetition of the steering task each: other instructions and other samples."""
    instructions: int = 10
    """Instructions for each concept: half choose the strength, half are reported."""
    max_new_tokens: int = 40
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
    neutral: int = 4
    """Neutral texts on which the side effect of steering is measured."""
    baseline: str = "random"
    """The method that win rates and differences are against."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 where the hardware multiplies it fast, else float32."""

    def __post_init__(self) -> None:
        for name in (*self.methods, *self.steered):
            if name not in METHODS:
                raise ValueError(f"there is no method {name!r}; the methods are {', '.join(METHODS)}")
        if missing := set(self.steered) - set(self.methods):
            raise ValueError(f"{sorted(missing)} cannot steer without being among the methods")
        if not self.strengths or min(self.strengths) < 0 or not self.seeds:
            raise ValueError("at least one strength (0 or more) and one seed are needed")


PRESETS = {
    "default": Config(),
    "smoke": Config(
        limit=2,
        steered=("diffmean", "random", "prompt"),
        strengths=(0.4, 0.8),
        instructions=4,
        max_new_tokens=16,
        neutral=2,
    ),
    "full": Config(
        steered=tuple(name for name in METHODS if name != "bag_of_words"),
        strengths=(0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0),
        seeds=(0, 1, 2),
        max_new_tokens=128,
        temperature=1.0,
        top_p=1.0,
        neutral=36,
    ),
}


def run(config: Config, root: Path = Path("runs")) -> Path:
    """Run, or continue, the comparison; returns the run's folder."""
    from experiments.axbench_report import report
    from workbench.runs.run import Run
    from workbench.runs.tracking import Tracker

    with Run.open(NAME, config, root) as opened, Tracker.start(opened) as tracker:
        bench = Bench(opened, config)
        opened.note(dtype=str(bench.model.dtype), device=str(bench.model.device), model_digest=bench.model.digest)
        for layer in bench.layers:
            level = Level(bench, layer)
            opened.record(level.detect())
            opened.record(level.steer())
            report(level, tracker)
        return opened.folder


@dataclass(frozen=True, eq=False)
class Bench:
    """What all layers share: the model, the concepts, the methods and the judge."""

    run: "Run"
    config: Config

    @cached_property
    def model(self) -> "Model":
        """The model that is read and edited."""
        from workbench.models.load import load

        return load(self.config.model, dtype=self.config.dtype)

    @cached_property
    def concepts(self) -> "ConceptSet":
        """What is looked for."""
        from workbench.concepts.choose import choose

        found = choose(self.config.concepts)
        return found if self.config.limit is None else found.subset(self.config.limit)

    @cached_property
    def methods(self) -> "dict[str, Method]":
        """The methods by name, in the order of the report."""
        return {name: METHODS[name].make() for name in self.config.methods}

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The blocks that are compared."""
        return self.config.layers or (self.model.site().layer,)

    @cached_property
    def sampling(self) -> "Sampling":
        """How answers are sampled."""
        from workbench.models.generation import Sampling

        return Sampling(self.config.max_new_tokens, self.config.temperature, self.config.top_p)

    @cached_property
    def judge(self) -> "Judge":
        """Who rates the answers."""
        from workbench.evaluation.judges.choose import choose

        config = self.config
        return choose(config.judge, config.judge_model, self.concepts, self.model, self.sampling, self.run)

    @cached_property
    def states(self) -> "Activations":
        """The states of all examples at every layer, read once and kept on disk."""
        from workbench.activations.store import stored
        from workbench.concepts.labelled import tokens_of
        from workbench.models.cache import cache_root
        from workbench.models.sites import Site

        sites = [Site(layer) for layer in self.layers]
        return stored(self.model, tokens_of(self.concepts, self.model), sites, folder=cache_root() / "activations")

    @cached_property
    def references(self) -> dict[tuple[str, int], list[str]]:
        """What the unsteered model answers to each instruction of each seed."""
        from workbench.evaluation.steering import Plan, Trial, run_trials, split_instructions

        asked = {
            (text, seed)
            for seed in self.config.seeds
            for halves in split_instructions(self.concepts, self.config.instructions, seed).values()
            for text in (*halves[0], *halves[1])
        }
        trials = [Trial("unsteered", "", text, None, 0, seed) for text, seed in sorted(asked)]
        samples = run_trials(
            self.run, "unsteered", self.model, trials, lambda trial: Plan(trial.instruction), self.sampling
        )
        return {(trial.instruction, trial.seed): [samples[trial].text] for trial in trials}


@dataclass(frozen=True, eq=False)
class Level:
    """The comparison at one layer."""

    bench: Bench
    layer: int
    choices: dict[tuple[str, str, int], float] = field(default_factory=dict)
    """The strength chosen for each method, concept and seed."""
    tested: "dict[Trial, tuple[Sample, Rating]]" = field(default_factory=dict)
    """The generations that are reported, with their ratings."""

    @property
    def site(self) -> "Site":
        """Where states are read and edited."""
        from workbench.models.sites import Site

        return Site(self.layer)

    @cached_property
    def data(self) -> "LabelledSet":
        """The states of all texts at this layer, with their labels."""
        from workbench.concepts.labelled import LabelledSet

        model = self.bench.model
        return LabelledSet.of(self.bench.concepts, self.bench.states, self.site, model.name, model.digest)

    @cached_property
    def fitted(self) -> "dict[str, tuple[Method, list[Artifact]]]":
        """Every method with its artifacts, one a concept."""
        return {name: (method, self.fit(name, method)) for name, method in self.bench.methods.items()}

    def path(self, name: str, concept: str) -> Path:
        """Where an artifact is kept."""
        from workbench.runs.files import slug

        return self.bench.run.artifacts / f"layer{self.layer}" / slug(name) / f"{slug(concept)}.safetensors"

    def fit(self, name: str, method: "Method") -> "list[Artifact]":
        """The artifacts of a method: fitted and saved, or loaded if an earlier opening of the run left them whole."""
        from time import perf_counter

        from workbench.artifacts.artifact import Artifact

        names = [concept.name for concept in self.bench.concepts.concepts]
        data = self.data

        def compute() -> dict:
            start = perf_counter()
            artifacts = method.fit_all(data)
            seconds = perf_counter() - start
            for concept, artifact in zip(names, artifacts, strict=True):
                artifact.save(self.path(name, concept))
            return {"seconds": seconds, "digests": [artifact.digest for artifact in artifacts]}

        done = self.bench.run.unit(f"fit/{self.layer}/{name}", compute)
        loaded = [Artifact.load(self.path(name, concept)) for concept in names]
        if [artifact.digest for artifact in loaded] != done["digests"]:
            raise ValueError(
                f"the {name} artifacts in {self.bench.run.artifacts} are not those that were fitted; delete the run"
            )
        return loaded

    def detect(self) -> list:
        """Detection rows: each concept, and the mean over concepts with its interval."""
        import numpy as np

        from workbench.evaluation.detecting import detections, text_scores
        from workbench.evaluation.summary import Measured, rows_of
        from workbench.runs.rows import Row

        able = {
            (name, at): (one, artifacts if at == 0 else one.fit_all(self.data))
            for name, (method, artifacts) in self.fitted.items()
            if method.detects
            for at, one in enumerate(method.repeats())
        }
        found: dict[str, list] = {}
        for (name, _), scores in text_scores(self.data, able).items():
            found.setdefault(name, []).append(detections(self.data, scores))
        names = [concept.name for concept in self.bench.concepts.concepts]
        measured = []
        for method, repeats in found.items():
            for metric, attribute in DETECTION.items():
                draws = np.array([[getattr(one, attribute) for one in concepts] for concepts in repeats])
                values: dict[tuple[str, int | None], float] = {
                    (name, None): value for name, value in zip(names, draws.mean(0).tolist(), strict=True)
                }
                measured.append(Measured(method, f"detection.{metric}", values))
        seconds = [
            Row(experiment=NAME, method=name, layer=self.layer, metric="cost.seconds", value=self.seconds(name))
            for name in self.bench.methods
        ]
        return rows_of(NAME, self.layer, measured) + seconds

    def seconds(self, name: str) -> float:
        """How long fitting a method on all concepts took."""
        done = self.bench.run.unit(f"fit/{self.layer}/{name}", lambda: {})
        return done["seconds"]

    def plan(self, trial: "Trial") -> "Plan":
        """How a trial is carried out."""
        from workbench.evaluation.steering import Plan

        method, artifacts = self.fitted[trial.method]
        artifact = artifacts[self.bench.concepts.index(trial.concept)]
        strength = 1.0 if trial.strength is None else trial.strength
        edits = method.edit(artifact, strength, self.bench.config.positions)
        return Plan(method.instruct(artifact, trial.instruction), edits)

    def steer(self) -> list:
        """Choose each strength on one half of the instructions, then report on the other half."""
        from workbench.evaluation.summary import comparisons, rows_of, wins

        curves = self.select()
        measured, scores = self.test()
        config = self.bench.config
        effects = [*curves, *measured, *wins(scores, config.baseline), *self.side_effects()]
        return rows_of(NAME, self.layer, effects) + comparisons(NAME, self.layer, scores, config.baseline, "steering")

    def trials(self, half: int, strengths: "dict[str, Sequence[float | None]] | None" = None) -> "list[Trial]":
        """The trials of the selection half (0, at all strengths) or of the test half (1, at the chosen one)."""
        from workbench.evaluation.steering import Trial, split_instructions

        config, trials = self.bench.config, []
        for seed in config.seeds:
            for concept, halves in split_instructions(self.bench.concepts, config.instructions, seed).items():
                for name in config.steered:
                    for strength in self._strengths(name, concept, seed, half):
                        trials += [Trial(name, concept, text, strength, self.layer, seed) for text in halves[half]]
        return trials

    def _strengths(self, name: str, concept: str, seed: int, half: int) -> "Sequence[float | None]":
        if not self.bench.methods[name].has_strength:
            return (None,) if half == 1 else ()
        return self.bench.config.strengths if half == 0 else (self.choices[name, concept, seed],)

    def rate(self, stage: str, trials: "list[Trial]") -> "dict[Trial, tuple[Sample, Rating]]":
        """Generate every trial and have the judge rate it; more than 5 % missing ratings end the run."""
        from dataclasses import asdict

        from workbench.evaluation.judges.base import Item, Rating, check_missing
        from workbench.evaluation.steering import run_trials
        from workbench.runs.files import digest

        bench = self.bench
        samples = run_trials(bench.run, f"{stage}/{self.layer}", bench.model, trials, self.plan, bench.sampling)
        items = [self.item(trial, samples[trial], Item) for trial in trials]
        key = f"judge/{stage}/{self.layer}/{digest([asdict(trial) for trial in trials])[:16]}"
        stored = bench.run.unit(key, lambda: [asdict(rating) for rating in bench.judge.rate(items)])
        ratings = [Rating(**values) for values in stored]
        check_missing(ratings)
        return {trial: (samples[trial], rating) for trial, rating in zip(trials, ratings, strict=True)}

    def item(self, trial: "Trial", sample: "Sample", kind: Any) -> Any:
        """What the judge is shown of a trial."""
        concept = self.bench.concepts.concepts[self.bench.concepts.index(trial.concept)]
        return kind(
            concept=concept.name,
            description=concept.description,
            instruction=trial.instruction,
            text=sample.text,
            perplexity=float("nan") if sample.perplexity is None else sample.perplexity,
            references=tuple(self.bench.references[trial.instruction, trial.seed]),
        )

    def select(self) -> "list[Measured]":
        """Choose the strengths; the scores against strength are what the report's curves show."""
        import numpy as np

        from workbench.evaluation.steering import choose_strength
        from workbench.evaluation.summary import Measured

        rated = self.rate("select", self.trials(0))
        curves: dict[tuple[str, str, float], dict] = {}
        scores: dict[tuple[str, str, int], dict[float, list[float]]] = {}
        for trial, (_, rating) in rated.items():
            assert trial.strength is not None
            place = scores.setdefault((trial.method, trial.concept, trial.seed), {})
            place.setdefault(trial.strength, []).append(_number(rating.overall))
            for metric, value in _parts(rating, "curve").items():
                values = curves.setdefault((trial.method, metric, trial.strength), {})
                values.setdefault((trial.concept, trial.seed), []).append(value)
        for key, found in scores.items():
            self.choices[key] = choose_strength(np.array(list(found.values())), list(found))
        return [
            Measured(method, f"steering.{metric}", {key: _mean(all_) for key, all_ in values.items()}, strength)
            for (method, metric, strength), values in curves.items()
        ]

    def test(self) -> "tuple[list[Measured], list[Measured]]":
        """The ratings, perplexities and chosen strengths of the test half; and the scores alone."""
        from workbench.evaluation.summary import Measured

        self.tested.update(self.rate("test", self.trials(1)))
        values: dict[tuple[str, str], dict] = {}
        for trial, (sample, rating) in self.tested.items():
            parts = _parts(rating, "score") | {"perplexity": _number(sample.perplexity)}
            for metric, value in parts.items():
                here = values.setdefault((trial.method, metric), {})
                here.setdefault((trial.concept, trial.seed), []).append(value)
        measured = [
            Measured(method, f"steering.{metric}", {key: _mean(all_) for key, all_ in found.items()})
            for (method, metric), found in values.items()
        ]
        chosen = {}
        for (method, concept, seed), strength in self.choices.items():
            chosen.setdefault(method, {})[concept, seed] = strength
        measured += [Measured(method, "steering.chosen_strength", found) for method, found in chosen.items()]
        return measured, [one for one in measured if one.metric == "steering.score"]

    def side_effects(self) -> "list[Measured]":
        """KL to the unsteered model on neutral text, at the chosen strengths."""
        from workbench.evaluation.steering import Trial, divergence, neutral_examples
        from workbench.evaluation.summary import Measured

        bench, concepts = self.bench, self.bench.concepts
        texts = neutral_examples(concepts, bench.config.neutral)
        asked, said = [text.instruction for text in texts], [text.response for text in texts]

        def effect(name: str, concept: str, seed: int) -> float:
            strength = self._strengths(name, concept, seed, 1)[0]

            def compute() -> float:
                plans = [self.plan(Trial(name, concept, text, strength, self.layer, seed)) for text in asked]
                return float(divergence(bench.model, plans, asked, said).mean())

            return bench.run.unit(f"side_effect/{self.layer}/{name}/{concept}/{seed}/{strength}", compute)

        return [
            Measured(
                name,
                "side_effect.kl",
                {
                    (one.name, seed): effect(name, one.name, seed)
                    for seed in bench.config.seeds
                    for one in concepts.concepts
                },
            )
            for name in bench.config.steered
        ]


DETECTION = {
    "auroc": "auroc",
    "auroc_with_hard": "auroc_hard",
    "auroc_compat": "auroc_compat",
    "f1": "f1",
    "hard_negative_accuracy": "hard_negative_accuracy",
    "hard_negative_accuracy_compat": "hard_negative_accuracy_compat",
    "f1_at_1_percent": "imbalanced_f1",
}
"""Metric in results.json to the field of a Detection."""


def _parts(rating: "Rating", first: str) -> dict[str, float]:
    names = ("concept", "instruction", "fluency")
    prefix = "" if first == "score" else f"{first}_"
    return {first: _number(rating.overall)} | {f"{prefix}{name}": _number(getattr(rating, name)) for name in names}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def main() -> None:
    """Run the command line; the last line printed is the run's folder."""
    from experiments.command import parse

    config, root = parse(Config, PRESETS)
    print(run(config, root))


if __name__ == "__main__":
    main()
