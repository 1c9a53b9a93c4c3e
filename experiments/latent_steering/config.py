"""The settings of the experiment, and its presets."""

from dataclasses import dataclass

from experiments.options import ModelOptions
from workbench.runs.fields import above, at_least, some

NAME = "latent_steering"

KINDS = {
    "block": "the output of a block, one vector at all positions behind BOS",
    "published": "the same, at BOS too and without a carrier behind it",
    "first": "the output of a block, vectors at the first positions behind BOS only",
    "attention": "the output of a block's attention, at all positions behind BOS",
    "mlp": "the output of a block's MLP, at all positions behind BOS",
    "prefix": "embeddings behind BOS",
}
"""Where vectors can be added."""


@dataclass(frozen=True)
class Config(ModelOptions):
    """Does a frozen model write any sentence when a vector is added to its states, and what do such vectors say?"""

    sites: tuple[str, ...] = ("block", "published", "first", "attention", "prefix", "prefix:4")
    """Where vectors are added: block, published, first, attention, mlp or prefix; `first:4` has four vectors."""
    depth: float = 0.34
    """Of the block that all of these but the prefix act on, from 0 to 1."""
    depths: tuple[float, ...] = (0.07, 0.5, 0.8)
    """Where `block` is tried besides."""
    source: str = "packaged"
    """`packaged`, or a text file with a sentence on each line."""
    sentences: int = 10
    """How many of its first sentences are used, at least two: the way from one to the next is looked at."""
    steps: int = 60
    """Of one attempt."""
    learning_rate: float = 0.3
    """In root mean squares of the text's states."""
    restarts: int = 0
    """Further attempts for texts that are not written yet; reviews and pairs, whose vectors are compared, have none."""
    reviews: str = "packaged"
    """Texts whose sentiment is changed: `packaged`, or a tab-separated file as SST-2 has it."""
    exemplars: int = 10
    """Reviews of each sentiment whose vectors are averaged."""
    transfers: int = 4
    """Further reviews of each sentiment, which are changed."""
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0)
    """How many times the difference of the means is added."""
    sts: str = "packaged"
    """Pairs of graded similarity: `packaged`, or a tab-separated file as the STS benchmark has it."""
    pairs: int = 16
    """How many of them are used, evenly spread."""
    capacity: tuple[str, ...] = ("block", "first", "first:4")
    """Sites, as above, whose capacity is measured; none leaves it out."""
    lengths: tuple[int, ...] = (8, 16, 32)
    """Tokens of the texts that they are filled with."""
    repeats: int = 2
    """Texts of each kind and length."""
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("steps", "exemplars", "transfers", "repeats")
        self.check(
            sites=some(),
            source=some(),
            reviews=some(),
            sts=some(),
            depth=at_least(0, high=1),
            depths=at_least(0, high=1),
            learning_rate=above(0),
            restarts=at_least(0),
            pairs=at_least(3),
            lengths=some(at_least(1)),
            sentences=at_least(2),
            strengths=some(above(0)),
            seed=at_least(0),
            **{name: at_least(1) for name in counts},
        )
        for name in (*self.sites, *self.capacity):
            kind, _, number = name.partition(":")
            if kind not in KINDS or not (not number or (number.isdigit() and int(number))):
                raise ValueError(f"there is no site {name!r}; give {', '.join(KINDS)}, or first:4 for four vectors")
            if number not in ("", "1") and kind not in ("first", "prefix"):
                raise ValueError(f"site {name!r}: only first and prefix have several vectors")

    def look_up(self) -> None:
        """See Options.look_up."""
        from experiments.latent_steering.texts import Texts

        Texts.of(self)
        super().look_up()


ABOUT = {
    "default": "ten sentences at six sites, three more depths, and texts of up to 32 tokens; five minutes of one core",
    "smoke": "three sentences at two sites with few steps, to see that it runs; under a minute",
    "paper": "fifty sentences at eight sites with restarts, and texts of up to 80 tokens; hours",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "smoke": Config(
        sites=("block", "prefix"),
        depths=(),
        sentences=3,
        steps=10,
        exemplars=2,
        transfers=1,
        strengths=(1.0,),
        pairs=3,
        capacity=("block",),
        lengths=(4, 8),
        repeats=1,
    ),
    "paper": Config(
        sites=("block", "published", "first", "first:4", "attention", "mlp", "prefix", "prefix:4"),
        depths=(0.0, 0.07, 0.2, 0.5, 0.67, 0.8, 0.97),
        sentences=50,
        steps=500,
        restarts=2,
        exemplars=16,
        transfers=8,
        strengths=(0.5, 1.0, 1.5, 2.0, 3.0),
        pairs=24,
        capacity=("block", "first", "first:2", "first:4", "prefix", "prefix:4"),
        lengths=(8, 16, 32, 48, 64, 80),
        repeats=4,
    ),
}
