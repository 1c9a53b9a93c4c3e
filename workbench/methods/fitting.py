"""What several fits compute: class means, means of texts, and the unit of a direction."""

from jaxtyping import Float, Float64, Int
from torch import Tensor

from workbench.data.labelled import Labelled
from workbench.models.pooling import pool_rows


def unit_of(data: Labelled, direction: Float[Tensor, "d"]) -> float:
    """The largest projection of a held-out positive token (AxBench's max_act, arXiv:2501.17148, section 4).

    Without held-out data it is taken from the positives themselves. Where no positive token projects above 0, the
    largest magnitude stands in.
    """
    held = data if data.held_out is None else data.held_out
    projected = held.x[held.y].float() @ direction
    top = float(projected.max())
    return top if top > 0 else float(projected.abs().max())


def class_means(data: Labelled) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Mean of the positive and of the negative tokens, accumulated in float64."""
    return data.x[data.y].double().mean(0), data.x[~data.y].double().mean(0)


def text_mean(data: Labelled, positive: bool) -> Float[Tensor, "d"]:
    """Mean over texts of each text's mean over its tokens, for one class, in float64."""
    mine = data.y == positive
    return mean_states(data.x[mine], data.row[mine]).mean(0)


def mean_states(x: Float[Tensor, "token d"], row: Int[Tensor, "token"]) -> Float64[Tensor, "text d"]:
    """Each text's mean over its tokens, in the order of the row numbers that occur."""
    different, text = row.unique(return_inverse=True)
    return pool_rows(x.double(), text, len(different), "mean")
