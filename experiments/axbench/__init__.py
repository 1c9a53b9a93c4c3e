"""Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148).

Each text is read once; every method is fitted on the stored states for all concepts; detection is scored on texts
that no choice has seen; steering strengths are chosen on one half of the instructions and reported on the other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from probes import METHODS as PROBES
from steering import METHODS as STEERING

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
    from experiments.axbench.bench import Bench
    from experiments.axbench.level import Level
    from experiments.axbench.report import report
    from experiments.axbench.task import SteeringTask
    from workbench.runs.run import Run
    from workbench.runs.tracking import Tracker

    with Run.open(NAME, config, root) as opened, Tracker.start(opened) as tracker:
        bench = Bench(opened, config)
        opened.note(dtype=str(bench.model.dtype), device=str(bench.model.device), model_digest=bench.model.digest)
        for layer in bench.layers:
            level = Level(bench, layer)
            opened.record(level.detect())
            task = SteeringTask(level)
            opened.record(task.run())
            report(task, tracker)
        return opened.folder


def main() -> None:
    """Run the command line; the last line printed is the run's folder."""
    from experiments.command import parse

    config, root = parse(Config, PRESETS)
    print(run(config, root))
