"""From a side effect that one is willing to pay to the strength of steering: `workbench.calibrate`."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from workbench.arguments import unlike, whole
from workbench.data.dataset import Dataset
from workbench.data.named import dataset
from workbench.evaluation.matching import matched_strengths
from workbench.evaluation.steering import Neutral, Plan
from workbench.models.model import Model
from workbench.models.stacking import Edits, MakesEdit, MakesEdits, as_edits

LARGEST = 16.0
"""No strength above this is tried."""


def calibrate(
    model: Model,
    steering: MakesEdit | MakesEdits | Callable[[float], Edits],
    kl: float = 0.1,
    *,
    data: Dataset | None = None,
    texts: int = 8,
) -> float:
    """The strength at which steering moves what the model would say next by `kl` nats a token, within a twentieth.

    `steering` is something fitted that steers, or makes the edits of a strength: `vector`, or `vector.edit`. What is
    measured is KL(unedited || edited) on the first tokens of so many evaluation answers that carry no concept of
    `data`, the packaged set unless given, as the comparison does with `--match kl`: methods, layers and vectors of any
    scale can be compared at one level. Raises ValueError where `kl` is not above 0 or `texts` not at least 1, for what
    makes no edits of a strength, and where no strength up to 16 has that effect; DataError where `data` has fewer
    such answers.
    """
    if not 0 < kl < np.inf:
        raise ValueError(f"kl is {kl}; expected a number of nats above 0, such as 0.1")
    if whole("texts", texts) < 1:
        raise ValueError(f"texts is {texts}; expected at least 1")
    make: Any = steering if callable(steering) else getattr(steering, "edit", None) or getattr(steering, "edits", None)
    if not callable(make):
        raise ValueError(
            unlike("steering", steering, "something fitted that steers, or what makes edits of a strength")
        )
    neutral = Neutral.of(model, dataset("packaged") if data is None else data, texts)

    def effect(strengths: Float[np.ndarray, " key"]) -> Float[np.ndarray, " key"]:
        made = as_edits(cast(Edits, make(float(strengths[0]))))
        return neutral.divergence(model, [Plan(prompt, made) for prompt in neutral.instructions]).mean(keepdims=True)

    strength, _ = matched_strengths(effect, np.array([kl]), largest=LARGEST)
    if np.isnan(strength[0]):
        raise ValueError(
            f"no strength up to {LARGEST:g} moves neutral text by {kl:g} nats a token; see that the edits "
            "depend on the strength and act on the tokens of an answer"
        )
    return float(strength[0])
