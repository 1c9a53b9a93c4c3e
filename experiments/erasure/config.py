"""The settings of the experiment, and its presets."""

from dataclasses import dataclass

from experiments.options import LayerOptions

NAME = "erasure"


@dataclass(frozen=True)
class Config(LayerOptions):
    """Take concepts out of hidden states and word vectors: what is left, what it costs, what the model loses."""

    methods: tuple[str, ...] = ("leace", "leace_texts", "mean_projection", "inlp")
    """Which erasers are fitted; see experiments.erasure.methods."""
    draws: int = 5
    """Random subspaces that stand against each eraser on the live model."""
    texts: int = 8
    """Evaluation texts with the concept, and as many without, on which the live model predicts."""
    max_tokens: int = 48
    """Tokens of each text's response that count there."""
    vectors: str = "model"
    """Word vectors: `model` for the model's input embeddings, or a text file in word2vec's format."""
    vocabulary: int = 10_000
    """Use the first words only: the most frequent ones, in most files."""
    leaning: int = 500
    """Words on each side of the gender direction that count as leaning to it."""

    def __post_init__(self) -> None:
        if min(self.draws, self.texts, self.max_tokens) < 1:
            raise ValueError(f"draws {self.draws}, texts {self.texts}, max_tokens {self.max_tokens}: at least 1 each")
        if self.leaning < 20:
            raise ValueError(f"leaning is {self.leaning}; words are split in five parts, which takes at least 20")


PRESETS = {
    "default": Config(),
    "smoke": Config(limit=2, draws=2, texts=2, max_tokens=16, leaning=50),
}
