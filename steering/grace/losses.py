"""The losses of GRACE and of preference training on vectors and margins; each is one number a triple.

Vectors are pooled states (`steering/grace/pooling.py`). The forms are those of GRACE's published code where nothing
else is said; docs/grace.md says which parts are ours.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from workbench.runs.fields import at_least, check_fields

PooledStates = Float[Tensor, "item d"]
Numbers = Float[Tensor, "item"]


@dataclass(frozen=True)
class Margins:
    """How far apart safe and adversarial states are pushed, and how near unsafe and jailbreak states are drawn.

    `spreads`: in units of the mean distance of the states to their centre before training, layer by layer, so that no
    model's scale matters (ours). `absolute`: in units of the activations, as published.
    """

    separation: Annotated[float, at_least(0)] = 2.0
    """No more is asked for once the distance is this large."""
    cohesion: Annotated[float, at_least(0)] = 0.5
    """No less is asked for once the distance is this small."""
    units: Literal["spreads", "absolute"] = "spreads"

    def __post_init__(self) -> None:
        check_fields(self)


PUBLISHED = Margins(5.0, 1.0, "absolute")
"""The margins of the published code."""


def relaxed_preference(margin: Numbers, reference: Numbers, beta: float) -> Numbers:
    """-log sigmoid(margin - beta * reference): the reference's margin counts for a share of itself.

    In direct preference optimisation beta multiplies both margins; at margin = reference and beta = 1 both are log 2.
    """
    return -logsigmoid(margin - beta * reference)


def preference(margin: Numbers, reference: Numbers, beta: float) -> Numbers:
    """-log sigmoid(beta (margin - reference)) (direct preference optimisation, arXiv:2305.18290, eq. 7)."""
    return -logsigmoid(beta * (margin - reference))


def separation(safe: PooledStates, unsafe: PooledStates, jailbreak: PooledStates, margin: float) -> Numbers:
    """1/2 [relu(margin - |safe - unsafe|) + relu(margin - |safe - jailbreak|)]."""
    return ((margin - distance(safe, unsafe)).relu() + (margin - distance(safe, jailbreak)).relu()) / 2


def cohesion(unsafe: PooledStates, jailbreak: PooledStates, margin: float) -> Numbers:
    """relu(|unsafe - jailbreak| - margin)."""
    return (distance(unsafe, jailbreak) - margin).relu()


def distance(a: PooledStates, b: PooledStates) -> Numbers:
    """Euclidean, row by row; its gradient is 0 where two vectors are equal, and not undefined."""
    return (a - b).square().sum(-1).clamp(min=1e-12).sqrt()
