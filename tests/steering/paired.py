"""Contrast pairs whose states are given."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from workbench.data.items import Item, Relation, Target
from workbench.data.labelled import Labelled
from workbench.models.sites import Site


def pairs(positive: Tensor, negative: Tensor, answers: Sequence[tuple[str, str]] = ()) -> Labelled:
    """One state a text; pair k is texts 2 k (with the behaviour) and 2 k + 1."""
    n = len(positive)
    answered = answers or [("yes", "no")] * n
    return Labelled(
        x=torch.stack([positive, negative], 1).reshape(2 * n, -1),
        y=torch.arange(2 * n) % 2 == 0,
        row=torch.arange(2 * n),
        target=Target("agrees", "agrees with the user"),
        site=Site(1),
        items=tuple(Item.exchange(f"question {k}", answer) for k in range(n) for answer in answered[k]),
        relations=(Relation("pair", ("positive", "negative"), np.arange(2 * n).reshape(n, 2)),),
    )
