"""What the stages leave of one layer: all that its report is made from."""

from dataclasses import dataclass

from experiments.axbench.context import ComparisonContext
from experiments.axbench.detection import TextScores
from experiments.axbench.judging import RatedTrials
from experiments.axbench.layer import LayerComparison
from experiments.axbench.strengths import ChosenStrengths


@dataclass(frozen=True, eq=False)
class LayerResults:
    """The outputs of the stages at one layer; the numbers made from them are the run's rows."""

    comparison: LayerComparison
    """The fitted methods."""
    text_scores: TextScores
    strengths: ChosenStrengths
    reported: RatedTrials
    """The trials of the reported half, with what came of them."""

    @property
    def context(self) -> ComparisonContext:
        """What all stages share."""
        return self.comparison.context

    @property
    def layer(self) -> int:
        """The number of the layer."""
        return self.comparison.layer
