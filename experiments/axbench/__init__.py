"""Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148).

Each text is read once; every method is fitted on the stored states for all concepts; detection is scored on texts
that no choice has seen; steering strengths are chosen on one half of the instructions and reported on the other.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from probes import METHODS as PROBES
from steering import METHODS as STEERING

METHODS = {name: entry for name, entry in (STEERING | PROBES).items() if name != "sft"}
"""All that can be compared; SFT changes whole weights, so that the rows of one batch could not differ."""
WRITERS = (
    *("diffmean", "pca", "lat", "ssv", "reps", "reft_r1", "reft_r1_compat", "loreft", "lora", "random", "prompt"),
    "probe",
)
"""Those of AxBench's tables that steer, and RePS, which followed them."""
PAPER = (*WRITERS, "integrated_gradients", "input_x_gradient", "prompt_detection", "bag_of_words")
"""Every method of AxBench's tables but SAEs and SFT."""
QUICK = (
    *("diffmean", "diffmean_text", "pca", "pca_compat", "lat", "lat_compat", "reft_r1", "random", "prompt", "probe"),
    "bag_of_words",
)
"""The methods that cost seconds a concept."""
NAME = "axbench"


@dataclass(frozen=True)
class Config:
    """Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148).

    Where the work is done changes no result: --executor {local,processes,ray} and --workers N, see docs/cluster.md.
    """

    model: str = "smollm2-135m-instruct"
    """A built-in name, a local folder, a .gguf file or a Hugging Face id."""
    concepts: str = "packaged"
    """`packaged`, a folder made by AxBench, or a .jsonl or .csv file."""
    limit: int | None = None
    """Use only the first concepts."""
    layers: tuple[int, ...] = ()
    """Blocks whose output is read and written; none means the one at 0.6 of the depth."""
    methods: tuple[str, ...] = QUICK
    """Which methods are fitted and compared on detection; the report keeps this order. `--preset paper` takes all
    of AxBench's tables; forms as published (`_compat`), reft_r1_clamp and more probes can be named."""
    steered: tuple[str, ...] = ("diffmean", "pca", "lat", "reft_r1", "random", "prompt", "probe")
    """Which of them also steer."""
    strengths: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0, 1.4)
    """Steering strengths to choose from, in units of the largest activation on held-out text."""
    search: Literal["grid", "coarse"] = "grid"
    """`grid` rates every strength; `coarse` every second one, and then the neighbours of the best."""
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
        methods=tuple(name for name in QUICK if name != "reft_r1"),
        steered=("diffmean", "random", "prompt"),
        strengths=(0.4, 0.8),
        instructions=4,
        max_new_tokens=16,
        neutral=2,
    ),
    "paper": Config(methods=PAPER, steered=WRITERS),
    "full": Config(
        methods=PAPER,
        steered=WRITERS,
        strengths=(0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0),
        seeds=(0, 1, 2),
        max_new_tokens=128,
        temperature=1.0,
        top_p=1.0,
        neutral=36,
    ),
}


def run(config: Config, root: Path = Path("runs"), executor: str = "local", workers: int | None = None) -> Path:
    """Run, or continue, the comparison; returns the run's folder. The executor may change when it is continued.

    Raises what workbench.runs.executors raises for an unknown executor or workers that cannot work.
    """
    from experiments.axbench.bench import Bench
    from experiments.axbench.report import report
    from experiments.axbench.task import SteeringTask
    from workbench.runs.executors import choose
    from workbench.runs.run import Run
    from workbench.runs.tracking import Tracker

    with (
        Run.open(NAME, config, root) as opened,
        Tracker.start(opened) as tracker,
        choose(executor, workers) as chosen,
    ):
        bench = Bench(opened, config, chosen)
        model = bench.model
        opened.note(dtype=str(model.dtype), device=str(model.device), model_digest=model.digest, judge=bench.judge.name)
        tasks = [SteeringTask(level) for level in bench.levels.values()]
        for task in tasks:
            task.level.publish()
            opened.record(task.level.detect())
            opened.record(task.run())
        opened.settle()
        for task in tasks:
            report(task, tracker)
        return opened.folder


def main() -> None:
    """Run the command line; prints the path of each report.html, and on the last line the run's folder."""
    from experiments.command import parse

    where = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    where.add_argument("--executor", choices=("local", "processes", "ray"), default="local")
    where.add_argument("--workers", type=int)
    known, rest = where.parse_known_args(sys.argv[1:])
    config, root = parse(Config, PRESETS, rest)
    folder = run(config, root, known.executor, known.workers)
    for page in (*folder.glob("report.html"), *sorted(folder.glob("layer*/report.html"))):
        print(page)
    print(folder)
