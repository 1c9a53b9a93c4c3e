"""Linear probes at every layer, for every concept at once, with controls that say whether to believe them.

Each text becomes one state a layer. Probes are fitted on training texts, C and the best layer chosen on validation
texts, and everything reported is measured on evaluation texts that no choice has seen.
"""

from pathlib import Path

from experiments.layer_sweep.config import NAME, PRESETS, Config

__all__ = ["NAME", "PRESETS", "Config", "main", "run"]


def run(config: Config, root: Path = Path("runs")) -> Path:
    """Run, or continue, the sweep; returns the run's folder."""
    from experiments.layer_sweep.report import write
    from experiments.layer_sweep.sweep import Sweep
    from workbench.runs.run import Run

    with Run.open(NAME, config, root) as opened:
        sweep = Sweep(opened, config)
        opened.record(sweep.rows())
        opened.settle()
        write(sweep)
        return opened.folder


def main() -> None:
    """Run the command line; prints the path of report.html, and on the last line the run's folder."""
    from experiments.command import parse

    folder = run(*parse(Config, PRESETS))
    print(folder / "report.html")
    print(folder)
