"""The erasers that are compared."""

from dataclasses import dataclass
from typing import Any

from steering.erasure import ERASURES
from workbench.artifacts.eraser import ConceptEraser
from workbench.data.labelled import Labelled
from workbench.methods.fitting import mean_states


@dataclass(frozen=True)
class Compared:
    """A registered erasure, and whether it is fitted on the mean state of each text instead of on tokens."""

    label: str
    name: str
    on_texts: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What its erasers depend on beside the data; see Method.identity."""
        return {**ERASURES[self.name].make().identity, "on_texts": self.on_texts}

    def fit(self, data: Labelled) -> ConceptEraser:
        """The eraser of one concept."""
        return ERASURES[self.name].make().fit(text_means(data) if self.on_texts else data)


METHODS = {
    "leace": Compared("LEACE", "leace", False),
    "leace_texts": Compared("LEACE (text means)", "leace", True),
    "mean_projection": Compared("Mean projection", "mean_projection", False),
    "inlp": Compared("INLP (text means)", "inlp", True),
}
"""INLP learns from text means only: it fits a classifier an iteration, and those it is to defeat read text means."""


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
