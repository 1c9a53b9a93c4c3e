"""The settings of the chat."""

from dataclasses import dataclass

from experiments.options import ModelOptions, check_file
from workbench.runs.fields import above, at_least, some


@dataclass(frozen=True, kw_only=True)
class Config(ModelOptions):
    """Chat with a model in the terminal, its answers steered and unsteered side by side as they are written."""

    vector: tuple[str, ...] = ()
    """Files of the vectors that steer, all together; none for a plain chat."""
    strength: float = 1.0
    """Of each vector, in its units."""
    positions: str = "all"
    """Where they act, such as `prompt[-1]` or `response`."""
    max_tokens: int = 256
    """Of an answer."""
    temperature: float = 0.7
    """0 takes the likeliest token."""
    top_p: float = 0.95
    """Sample only from the likeliest tokens that together have this probability."""
    seed: int = 0
    """Of the first answer; both sides draw from the same stream, each further answer from the next one."""

    def __post_init__(self) -> None:
        self.check(
            positions=some(),
            max_tokens=at_least(1),
            temperature=at_least(0),
            top_p=above(0, high=1),
            seed=at_least(0),
        )

    def look_up(self) -> None:
        """See Options.look_up."""
        for path in self.vector:
            check_file(path)
        super().look_up()
