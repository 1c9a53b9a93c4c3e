"""What the stages leave of one layer: all that its report is made from."""

from dataclasses import dataclass

from experiments.axbench.context import ComparisonContext
from experiments.axbench.detection import TextScores
from experiments.axbench.judging import RatedTrials
from experiments.axbench.layer import LayerComparison
from experiments.axbench.off_concept import Changes
from experiments.axbench.strengths import SteeredAnswers


@dataclass(frozen=True, eq=False)
class LayerResults:
    """The outputs of the stages at one layer; the numbers made from them are the run's rows."""

    comparison: LayerComparison
    """The fitted methods."""
    text_scores: TextScores
    steered: SteeredAnswers
    unsteered: RatedTrials
    """What the judge says of the unsteered answers."""
    changes: Changes
    """What steering changes in the reading of every concept, where that was asked for."""

    @property
    def context(self) -> ComparisonContext:
        """What all stages share."""
        return self.comparison.context

    @property
    def reported(self) -> RatedTrials:
        """The answers that are reported, with their ratings."""
        return self.steered.reported

    @property
    def answers(self) -> RatedTrials:
        """Those, and what the unsteered model answers."""
        return {**self.reported, **self.unsteered}

    @property
    def layer(self) -> int:
        """The number of the layer."""
        return self.comparison.layer
