"""The probes that dictionaries are judged by."""

import torch
from jaxtyping import Float
from torch import Tensor

from probes.solvers.logistic import Fitted
from probes.solvers.paths import balanced, logistic_path

C = 0.1
"""Inverse strength of the penalty on standardised features."""


def balanced_probes(x: Float[Tensor, "item feature"], y: Float[Tensor, "item class"]) -> Fitted:
    """A logistic regression for each column of `y`, 0 or 1, whose two sides count the same, on standardised features.

    Raises ValueError for a column with one side only.
    """
    (line,) = logistic_path(x, y, balanced(y, torch.ones_like(y)), (C,))
    return line
