"""The settings of the experiment, and its presets."""

from dataclasses import dataclass

from experiments.options import ModelOptions, Precision
from workbench.runs.fields import at_least, some

NAME = "linear_hypothesis"


@dataclass(frozen=True)
class Config(ModelOptions):
    """Are concepts directions of the unembedding, and does the causal inner product part them (arXiv:2311.03658)?"""

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
    dtype: Precision = "float32"
    """Of the model; statistics are float64 in any case."""

    def __post_init__(self) -> None:
        self.check(
            pairs=some(),
            contexts=some(),
            least=at_least(2),
            random_pairs=at_least(2),
            random_concepts=at_least(2),
            effects=some(at_least(0)),
            seed=at_least(0),
        )

    def look_up(self) -> None:
        """See Options.look_up."""
        from experiments.linear_hypothesis.data import contexts
        from workbench.data.word_pairs import word_pairs

        word_pairs(self.pairs)
        contexts(self.contexts)
        super().look_up()


ABOUT = {
    "default": "all packaged word pairs and contexts; 15 seconds on two cores",
    "smoke": "with few random pairs, to see that it runs; 15 seconds",
}
"""What each preset is for and how long it takes."""

PRESETS = {"default": Config(), "smoke": Config(random_pairs=1000, random_concepts=20, effects=(0.0, 4.0))}
