"""Are concepts directions of the unembedding, and does the causal inner product part them (arXiv:2311.03658)?

A concept is a list of word pairs. Its direction is asked to point the same way for a pair it has not seen, to be at
right angles to unrelated concepts, to tell contexts apart that call for one word or the other, and to change the words
to come without changing other concepts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

NAME = "linear_hypothesis"


@dataclass(frozen=True)
class Config:
    """Are concepts directions of the unembedding, and does the causal inner product part them (arXiv:2311.03658)?"""

    model: str = "smollm2-135m-instruct"
    """A built-in name, a local folder, a .gguf file or a Hugging Face id."""
    pairs: str = "packaged"
    """`packaged`, or a folder of word pairs in the published format: `[base - target].txt`, parted by tabs."""
    contexts: str = "packaged"
    """`packaged`, or a folder of contexts in the published format: .jsonl with word0, word1, contexts0, contexts1."""
    least: int = 8
    """Concepts with fewer pairs of single tokens are dropped, and named in the report."""
    random_pairs: int = 100_000
    """Random pairs of tokens that a concept's pairs are compared with."""
    random_concepts: int = 200
    """Concepts of random pairs that readings and leave-one-out projections are compared with."""
    effects: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
    """How far writing moves the log-odds of the concept's own pairs on average, in nats."""
    seed: int = 0
    """Of everything random."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Of the model; statistics are float64 in any case."""

    def __post_init__(self) -> None:
        if self.least < 2 or self.random_pairs < 2 or self.random_concepts < 2:
            raise ValueError("least, random_pairs and random_concepts must each be at least 2")
        if not self.effects or min(self.effects) < 0:
            raise ValueError("at least one effect of 0 or more is needed")


PRESETS = {"default": Config(), "smoke": Config(random_pairs=1000, random_concepts=20, effects=(0.0, 4.0))}


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
