"""The settings of the experiment, and its presets."""

from dataclasses import dataclass
from typing import Any

from experiments.options import LayerOptions, check_file
from steering.erasure import ERASURES
from workbench.runs.fields import at_least, check_known, some

NAME = "erasure"


@dataclass(frozen=True)
class Compared:
    """A registered erasure, and whether it is fitted on the mean state of each text instead of on tokens."""

    label: str
    name: str
    on_texts: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What its erasers depend on beside the data; see Method.identity."""
        return {**ERASURES[self.name].make().identity, "on_texts": self.on_texts}


METHODS = {
    "leace": Compared("LEACE", "leace", False),
    "leace_texts": Compared("LEACE (text means)", "leace", True),
    "mean_projection": Compared("Mean projection", "mean_projection", False),
    "inlp": Compared("INLP (text means)", "inlp", True),
}
"""INLP learns from text means only: it fits a classifier an iteration, and those it is to defeat read text means."""


@dataclass(frozen=True)
class Config(LayerOptions):
    """Take concepts out of hidden states and word vectors: what is left, what it costs, what the model loses."""

    methods: tuple[str, ...] = ("leace", "leace_texts", "mean_projection", "inlp")
    """Which erasers are fitted; see METHODS."""
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
        self.check(
            methods=some(),
            draws=at_least(1),
            texts=at_least(1),
            max_tokens=at_least(1),
            vectors=some(),
            vocabulary=at_least(1),
            leaning=at_least(20),  # words are split in five parts
        )
        check_known("eraser", self.methods, METHODS)

    def look_up(self) -> None:
        """See Options.look_up."""
        if self.vectors != "model":
            check_file(self.vectors)
        super().look_up()


ABOUT = {
    "default": "thirty packaged concepts and word vectors; four minutes on two cores",
    "smoke": "two concepts, to see that it runs; half a minute",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "smoke": Config(limit=2, draws=2, texts=2, max_tokens=16, leaning=50),
}
