"""The solvers as a scikit-learn classifier: `LogisticProbe` works in pipelines, searches and cross-validation."""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from probes.solvers.design import Design
from probes.solvers.logistic import fit_logistic
from probes.solvers.multinomial import fit_multinomial
from probes.solvers.solver import TOL

Array = NDArray[Any]


class LogisticProbe(ClassifierMixin, BaseEstimator):
    """L2 logistic regression with scikit-learn's objective and interface; softmax from three classes on.

    Minimises C * sum_i weight_i * logloss_i + |w|^2 / 2; intercepts are not penalised. float32 input is solved in
    float32, everything else in float64. After `fit`: `coef_` [1 or class, feature], `intercept_`, `classes_`,
    `n_iter_` [1] and `n_features_in_`.
    """

    def __init__(
        self,
        C: Any = 1.0,
        *,
        tol: Any = TOL,
        max_iter: Any = 200,
        class_weight: Any = None,
    ) -> None:
        """C: inverse strength of the penalty. tol: the predicted decrease, as a share of the objective, to stop at.

        class_weight: None, "balanced" or a dict from class to weight. `fit` checks them all.
        """
        self.C = C
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LogisticProbe":
        """X [item, feature], y [item]; warns if `max_iter` is too low, raises ValueError if y has a single class."""
        if not (self.C > 0 and self.tol > 0 and self.max_iter >= 1):
            raise ValueError(
                f"C, tol and max_iter must be positive, got {self.C!r}, {self.tol!r} and {self.max_iter!r}"
            )
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, label = np.unique(y, return_inverse=True)
        weight = _weights(sample_weight, X)
        of_class = np.bincount(label, weight)
        if (of_class > 0).sum() < 2:
            raise ValueError("all items of positive weight are of one class; a classifier needs at least two")
        if of_class.min() <= 0:
            raise ValueError(f"no item of class {self.classes_[of_class.argmin()]} has a positive weight")
        weight = weight * self._class_weights(y, of_class)[label]
        self._solve(torch.tensor(X), torch.from_numpy(label), torch.from_numpy(weight.astype(X.dtype)))
        return self

    def _class_weights(self, y: Array, of_class: Array) -> Array:
        """The factor of each class; `of_class` is what its items weigh."""
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            return of_class.mean() / of_class
        return compute_class_weight(self.class_weight, classes=self.classes_, y=y)

    def _solve(self, x: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> None:
        kept = weight > 0  # items without weight must leave no trace, not even in the rounding
        design = Design.of(x[kept], weight[kept])
        label, use = label[kept, None], weight[kept, None]
        penalty = torch.full_like(x[0], 1 / self.C)[:, None]  # [d, 1]
        if len(self.classes_) == 2:
            found = fit_logistic(design, label.to(x), use, penalty, tol=self.tol, max_iter=self.max_iter, strict=False)
            weights = found.weight.T
        else:
            found = fit_multinomial(
                design,
                label,
                use,
                penalty,
                classes=len(self.classes_),
                tol=self.tol,
                max_iter=self.max_iter,
                strict=False,
            )
            weights = found.weight[:, 0].T
        if not bool(found.converged.all()):
            message = f"LogisticProbe did not converge in {self.max_iter} steps; raise max_iter or tol, or lower C"
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
        self.coef_, self.intercept_ = np.ascontiguousarray(weights.numpy()), found.intercept.reshape(-1).numpy()
        self.n_iter_ = np.array([found.iterations])

    def decision_function(self, X: Any) -> Array:
        """Logits: [item] of the second class if there are two, else [item, class]."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        logits = X @ self.coef_.T + self.intercept_
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> Array:
        """The most likely class of each item."""
        logits = self.decision_function(X)
        return self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(1)]

    def predict_proba(self, X: Any) -> Array:
        """Probabilities [item, class], in the order of `classes_`."""
        logits = self.decision_function(X)
        return np.stack([expit(-logits), expit(logits)], 1) if logits.ndim == 1 else softmax(logits, 1)


def _weights(sample_weight: Any, X: Array) -> Array:
    """A weight for each item, checked."""
    if sample_weight is None:
        return np.ones(len(X))
    weight = check_array(sample_weight, ensure_2d=False, dtype="float64", input_name="sample_weight")
    if weight.shape != (len(X),):
        raise ValueError(f"sample_weight has shape {weight.shape}, expected ({len(X)},)")
    if weight.min() < 0 or weight.max() == 0:
        raise ValueError("sample_weight must not be negative, and not zero for all items")
    return weight
