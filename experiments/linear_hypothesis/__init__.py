"""Are concepts directions of the unembedding, and does the causal inner product part them (arXiv:2311.03658)?

A concept is a list of word pairs. Its direction is asked to point the same way for a pair it has not seen, to be at
right angles to unrelated concepts, to tell contexts apart that call for one word or the other, and to change the words
to come without changing other concepts.
"""

from pathlib import Path

from experiments.linear_hypothesis.config import NAME, PRESETS, Config

__all__ = ["NAME", "PRESETS", "Config", "main", "run"]


def run(config: Config, root: Path = Path("runs")) -> Path:
    """Run, or continue, the measurements; returns the run's folder.

    Raises DataError for data that cannot be used, and when fewer than two concepts are left; ValueError for a model
    whose logits are not linear in its last state, once contexts are to be written on.
    """
    from experiments.linear_hypothesis.report import write
    from experiments.linear_hypothesis.study import Study
    from workbench.runs.run import Run

    with Run.open(NAME, config, root) as opened:
        study = Study.of(opened, config)
        opened.record(study.rows())
        opened.settle()
        write(study)
        return opened.folder


def main() -> None:
    """Run the command line; prints the path of report.html, and on the last line the run's folder."""
    from experiments.command import parse

    folder = run(*parse(Config, PRESETS))
    print(folder / "report.html")
    print(folder)
