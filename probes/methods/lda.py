"""Linear discriminant analysis with a shrunk covariance (Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x; Ledoit &
Wolf 2004, doi:10.1016/S0047-259X(03)00096-4), by scikit-learn."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.method import AdditiveMethod


@dataclass(frozen=True)
class LDA(AdditiveMethod):
    """Sigma^-1 (mean(x | y) - mean(x | not y)) at unit norm, Sigma the covariance within the classes, shrunk.

    How much it is shrunk towards its diagonal follows from the data (Ledoit & Wolf), so that it works with
    fewer tokens than dimensions. The threshold is Bayes' for the share of positives in the training data.
    """

    label: ClassVar[str] = "LDA"
    source: ClassVar[str] = "doi:10.1111/j.1469-1809.1936.tb02137.x"

    def fit(self, data: Labelled) -> Vector:
        """The unit-norm direction, from tokens in float64."""
        found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(data.x.double().numpy(), data.y.numpy())
        return self.vector(data, torch.from_numpy(found.coef_[0].copy()), float(found.intercept_[0]))
