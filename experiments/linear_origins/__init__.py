"""Where linear directions may come from: a world of binary concepts, and two tables that learn to predict in it.

The simulation of Jiang et al. 2024 (arXiv:2403.03867). The next token's distribution is known exactly, so that the loss
has a known floor: a seed that does not reach it has learnt something else, is counted, and is left out of every claim.
"""

from pathlib import Path

from experiments.linear_origins.config import NAME, PRESETS, RECORDS, Config

__all__ = ["NAME", "PRESETS", "RECORDS", "Config", "main", "run"]


def run(config: Config, root: Path = Path("runs")) -> Path:
    """Run, or continue, the simulation; returns the run's folder."""
    from experiments.linear_origins.report import build_report
    from experiments.linear_origins.study import rows, settings, study
    from workbench.report.render import write_report
    from workbench.runs.run import Run

    with Run.open(NAME, config, root) as opened:
        found = [study(opened, config, setting) for setting in settings(config)]
        opened.record(row for each in found for row in rows(each))
        opened.settle()
        write_report(opened.folder, build_report(opened, config, found))
        return opened.folder


def main() -> None:
    """Run the command line; prints the path of report.html, and on the last line the run's folder."""
    from experiments.command import parse

    folder = run(*parse(Config, PRESETS))
    print(folder / "report.html")
    print(folder)
