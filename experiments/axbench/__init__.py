"""Compare ways of reading and writing concepts, after AxBench (arXiv:2501.17148).

Each text is read once; every method is fitted on the stored states for all concepts; detection is scored on texts
that no choice has seen; steering strengths are chosen on one half of the instructions and reported on the other.
"""

import argparse
import sys
from pathlib import Path

from experiments.axbench.config import METHODS, NAME, PAPER, PRESETS, QUICK, WRITERS, Config

__all__ = ["METHODS", "NAME", "PAPER", "PRESETS", "QUICK", "WRITERS", "Config", "main", "run"]


def run(config: Config, root: Path = Path("runs"), executor: str = "local", workers: int | None = None) -> Path:
    """Run, or continue, the comparison; returns the run's folder. The executor may change when it is continued.

    Raises what workbench.runs.executors raises for an unknown executor or workers that cannot work.
    """
    from experiments.axbench.bench import Bench
    from experiments.axbench.comparison_report import write_comparison
    from experiments.axbench.detection import DetectionTask
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
        _ = bench.methods  # refuses those that cannot be compared, before anything is loaded
        model = bench.model
        opened.note(dtype=str(model.dtype), device=str(model.device), model_digest=model.digest, judge=bench.judge.name)
        tasks = [(DetectionTask(bench, layer), SteeringTask(bench, layer)) for layer in bench.layers]
        for detection, steering in tasks:
            steering.level.publish()
            opened.record(detection.run())
            opened.record(steering.run())
        opened.settle()
        for detection, steering in tasks:
            write_comparison(detection, steering, tracker)
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
