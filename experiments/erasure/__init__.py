"""Take concepts out of hidden states and word vectors, and see what is left, what it costs and what the model loses.

Every text is read once; erasers are fitted on training texts; probes are refitted on the erased states, on the same
texts and on fresh ones; then each eraser acts on the live model against as many random directions.
"""

from pathlib import Path

from experiments.erasure.config import NAME, PRESETS, Config

__all__ = ["NAME", "PRESETS", "Config", "main", "run"]


def run(config: Config, root: Path = Path("runs")) -> Path:
    """Run, or continue, the experiment; returns the run's folder."""
    from experiments.erasure.concepts import Bench, measure_concepts
    from experiments.erasure.report import build_report
    from experiments.erasure.words import measure_words
    from workbench.report.render import write_report
    from workbench.runs.run import Run

    with Run.open(NAME, config, root) as opened:
        bench = Bench.of(config, opened)
        opened.record(measure_concepts(bench))
        opened.record(measure_words(bench))
        opened.settle()
        write_report(opened.folder, build_report(bench))
        return opened.folder


def main() -> None:
    """Run the command line; prints the report's path and then the run's folder."""
    from experiments.command import parse

    config, root = parse(Config, PRESETS)
    folder = run(config, root)
    print(folder / "report.html")
    print(folder)
