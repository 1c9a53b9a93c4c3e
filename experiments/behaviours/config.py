"""The settings of the experiment, and its presets."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.options import ModelOptions, Precision
from steering import METHODS
from workbench.runs.fields import above, at_least, check_known, some

NAME = "behaviours"
CONTROLS = ("random", "shuffled")
"""Always there: a random direction of equal length, and the first method on pairs of which half are exchanged."""

LETTERS = "/letters"
"""What stands behind the name of a method that is fitted on letters."""


@dataclass(frozen=True)
class Config(ModelOptions):
    """Which ways of steering with pairs of answers move a model towards a behaviour, and how far beyond controls?"""

    source: str = "packaged"
    """`packaged`, or a published file of questions with two answers: see workbench.data.behaviour_files."""
    behaviours: tuple[str, ...] = ()
    """Which of its behaviours; none means all."""
    methods: tuple[str, ...] = ("diffmean", "caa/letters", "repe")
    """Registered names. A method is fitted on answers in full, or, with `/letters` behind its name, on letters."""
    layers: tuple[int, ...] = ()
    """Blocks whose output is steered; none means those at 0.3, 0.5 and 0.7 of the depth."""
    strengths: tuple[float, ...] = (0.5, 1.0)
    """In units of the vector, tried at every layer."""
    positions: str = "prompt[-1]+response"
    """Tokens that are steered: by default all that follow the question."""
    train: int = 20
    """Pairs of each behaviour that vectors are fitted on."""
    validation: int = 4
    """Pairs that the layer and the strength are chosen on."""
    test: int = 12
    """Pairs that count."""
    levels: tuple[float, ...] = (0.1,)
    """Side effects at which all methods are compared too: KL on neutral text, in nats a token."""
    neutral: int = 2
    """Neutral texts that the side effect is measured on."""
    questions: int = 2
    """Open questions of each behaviour that are answered in words and rated; 0 leaves it out."""
    tokens: int = 32
    """Of an open answer."""
    seed: int = 0
    """Of shuffled pairs and random directions."""
    dtype: Precision = "float32"
    """Of the model: in bfloat16 a small effect is lost in the rounding of logits."""

    def __post_init__(self) -> None:
        self.check(
            source=some(),
            methods=some(),
            layers=at_least(0),
            strengths=some(above(0)),
            positions=some(),
            levels=some(above(0)),
            questions=at_least(0),
            seed=at_least(0),
            **{name: at_least(1) for name in ("train", "validation", "test", "neutral", "tokens")},
        )
        check_known("method", [name.removesuffix(LETTERS) for name in self.methods if name not in CONTROLS], METHODS)
        if set(self.methods) <= {*CONTROLS}:
            raise ValueError(
                f"methods are {', '.join(self.methods)}, which are controls; name one that they are controls of"
            )

    def look_up(self) -> None:
        """See Options.look_up. Raises DataError for more neutral texts than there are."""
        from workbench.data.behaviour_files import behaviours_of
        from workbench.data.behaviours import chosen_behaviours
        from workbench.data.items import DataError
        from workbench.data.packaged import neutral

        chosen_behaviours(behaviours_of(self.source), self.behaviours)
        if self.neutral > (there := sum(split == "evaluation" for _, split in neutral())):
            raise DataError(f"neutral is {self.neutral}, and there are {there}; give at most so many")
        super().look_up()
        check_comparable(self.methods)


def check_comparable(names: Sequence[str]) -> None:
    """Raises DataError for a method that pairs of answers or strengths to choose are nothing for. It takes torch."""
    from steering.methods.conditional import Conditional
    from steering.selection import SelectedDirection
    from workbench.data.items import DataError
    from workbench.methods.capabilities import has_strength

    for name in (name.removesuffix(LETTERS) for name in names if name not in CONTROLS):
        method = METHODS[name].make()
        if isinstance(method, Conditional | SelectedDirection):
            raise DataError(f"method {name!r} tells prompts apart, and both answers of a pair share their prompt")
        if not has_strength(method):
            raise DataError(f"method {name!r} has no strength to choose, which this experiment compares methods by")


ABOUT = {
    "default": "eight packaged behaviours, three methods and two controls; ten minutes of one core",
    "smoke": "two behaviours and few pairs, to see that it runs; under a minute",
    "paper": "every packaged pair at every other layer with all methods of pairs; hours",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "smoke": Config(
        behaviours=("hedging", "optimism"),
        methods=("diffmean",),
        layers=(15,),
        strengths=(0.5, 1.0),
        train=8,
        validation=2,
        test=4,
        neutral=1,
        questions=0,
    ),
    "paper": Config(
        methods=(
            *("diffmean", "diffmean/letters", "caa/letters", "mean_centring", "pca", "pca_pairwise", "repe", "actadd"),
            *("control_piecewise", "capping", "rotation", "layerwise", "ablation", "iti"),
        ),
        train=30,
        layers=tuple(range(3, 28, 2)),
        strengths=(0.125, 0.25, 0.5, 1.0, 2.0),
        validation=12,
        test=18,
        levels=(0.05, 0.1, 0.2, 0.4),
        neutral=12,
        questions=10,
        tokens=64,
    ),
}
