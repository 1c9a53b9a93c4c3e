"""Fitting the erasers that are compared."""

from experiments.erasure.config import Compared
from steering.erasure import ERASURES
from workbench.artifacts.eraser import ConceptEraser
from workbench.data.labelled import Labelled
from workbench.methods.fitting import mean_states


def fit_compared(method: Compared, data: Labelled) -> ConceptEraser:
    """The eraser of one concept."""
    return ERASURES[method.name].make().fit(text_means(data) if method.on_texts else data)


def text_means(data: Labelled) -> Labelled:
    """One state a text: the mean over its tokens, in float32."""
    return Labelled(
        x=mean_states(data.x, data.row).float(),
        y=data.row_y,
        row=data.row.unique(),
        target=data.target,
        site=data.site,
        model=data.model,
        model_digest=data.model_digest,
        items=data.items,
        held_out=None if data.held_out is None else text_means(data.held_out),
        through=data.through,
    )
