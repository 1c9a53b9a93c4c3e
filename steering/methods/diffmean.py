"""Difference in means of concept and other tokens (Marks & Tegmark 2023, arXiv:2310.06824, section 4)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means, text_mean
from workbench.methods.method import AdditiveMethod


@dataclass(frozen=True)
class DiffMean(AdditiveMethod):
    """mean(x | y) - mean(x | not y), scaled to unit norm."""

    label: ClassVar[str] = "DiffMean"
    source: ClassVar[str] = "arXiv:2310.06824"

    weighting: Literal["token", "text"] = "token"
    """Every token counts the same (as AxBench has it), or every text does, whatever its length."""

    @property
    def title(self) -> str:
        """Says so where texts are weighted instead of tokens."""
        return self.label if self.weighting == "token" else f"{self.label} (per text)"

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm difference; the bias puts the threshold midway between the two means."""
        if self.weighting == "token":
            positive, negative = class_means(data)  # [d], [d]
        else:
            positive, negative = text_mean(data, True), text_mean(data, False)
        direction = positive - negative
        return self.vector(data, direction, bias=-float((positive + negative) @ direction / 2))
