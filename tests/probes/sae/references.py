"""Probes as scikit-learn fits them, for comparison."""

import numpy as np
from sklearn.linear_model import LogisticRegression


def fitted_line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weight and intercept of a balanced logistic regression on standardised features [item, feature]."""
    scale = np.maximum(x.std(0), 1e-6)
    fit = LogisticRegression(C=0.1, class_weight="balanced", tol=1e-10, max_iter=10_000).fit(x / scale, y)
    return fit.coef_[0] / scale, float(fit.intercept_[0])
