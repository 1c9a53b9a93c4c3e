"""The settings of the experiment, and its presets."""

from dataclasses import dataclass
from typing import Literal

from experiments.options import Options, Precision
from workbench.runs.fields import above, at_least, some

NAME = "layer_sweep"
ProbedPosition = Literal["last", "mean"]


@dataclass(frozen=True)
class Config(Options):
    """Linear probes at every layer for every concept at once, with controls that say whether to believe them."""

    models: tuple[str, ...] = ("smollm2-135m-instruct",)
    """Built-in names, local folders, .gguf files or Hugging Face ids."""
    data: tuple[str, ...] = ("packaged", "truth")
    """`packaged`, `truth` (all families of statements and their negations), one family (`cities`, `neg_cities`), a
    concept set (an AxBench folder, .jsonl, .csv), statements (.csv with `statement,label`) or sentiment (.tsv)."""
    limit: int | None = None
    """Use only the first concepts of a set."""
    layers: tuple[int, ...] = ()
    """Blocks whose output is probed; -1 is what enters the first one; none means all of these."""
    positions: tuple[ProbedPosition, ...] = ("mean", "last")
    """How the tokens of a text become one state: their mean, or the last one. The first one is used for transfer."""
    random_model: bool = True
    """Whether the same architecture with random weights is probed too, on the states of the first kind."""
    grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Inverse strengths C of the penalty on standardised states, chosen for each concept on validation texts."""
    description_length: bool = True
    """Whether the online code is measured; it takes most of the time."""
    causal_blocks: int = 6
    """The causal check edits this many blocks, up to the best one; 0 leaves it out."""
    seed: int = 0
    """Of splits, control labels, orders and random directions."""
    dtype: Precision = "auto"
    """`auto` is bfloat16 where the hardware multiplies it fast, else float32."""
    device: str = "auto"
    """`auto` is the first GPU if there is one; else as PyTorch names it, `cpu` or `cuda:1`."""

    def __post_init__(self) -> None:
        self.check(
            models=some(),
            data=some(),
            limit=at_least(1),
            layers=at_least(-1),
            positions=some(),
            grid=some(above(0)),
            causal_blocks=at_least(0),
            device=some(),
            seed=at_least(0),
        )
        if list(self.grid) != sorted(set(self.grid)):
            raise ValueError(f"grid is {self.grid}; expected values of C that rise")

    def look_up(self) -> None:
        """See Options.look_up."""
        from workbench.data.named import check_named

        for name in self.data:
            check_named(name)
        super().look_up()


ABOUT = {
    "default": "thirty concepts and twelve families of statements at every layer; a quarter of an hour on two cores",
    "packaged": "the thirty concepts alone, without the random model; two minutes",
    "smoke": "two concepts and one family at three layers, to see that it runs; three minutes",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "packaged": Config(data=("packaged",), positions=("mean",), random_model=False, causal_blocks=0),
    "smoke": Config(
        data=("packaged", "cities"),
        limit=2,
        layers=(-1, 9, 19),
        positions=("mean",),
        grid=(1e-3, 1e-2),
        causal_blocks=2,
    ),
}
