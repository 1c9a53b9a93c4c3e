import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probes.solvers.estimator import LogisticProbe


@pytest.mark.usefixtures("seeded")  # some of the checks seed numpy's global generator
@parametrize_with_checks([LogisticProbe()])
def test_keeps_scikit_learns_rules(estimator, check):
    check(estimator)


def two_or_three(classes: int):
    X, y = load_iris(return_X_y=True)
    return (X[y > 0], y[y > 0]) if classes == 2 else (X, y)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced", {1: 5.0, 2: 0.5}])
def test_equals_scikit_learn(classes, class_weight):
    X, y = two_or_three(classes)
    X, y = X[20:], y[20:]  # no longer balanced
    weight = np.random.default_rng(0).uniform(0, 3, len(y))
    if isinstance(class_weight, dict) and classes == 3:
        class_weight = {0: 1.0, **class_weight}
    ours = LogisticProbe(C=0.7, tol=1e-15, class_weight=class_weight).fit(X, y, weight)
    theirs = LogisticRegression(C=0.7, solver="newton-cholesky", tol=1e-12, class_weight=class_weight)
    theirs.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == np.shape(theirs.intercept_)
    assert (ours.predict(X) == theirs.predict(X)).all()


def test_float32_stays_float32():
    X, y = two_or_three(3)
    single, double = LogisticProbe().fit(X.astype(np.float32), y), LogisticProbe().fit(X, y)
    assert single.coef_.dtype == np.float32
    assert double.coef_.dtype == np.float64
    np.testing.assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=5e-3)


def test_text_labels_in_a_pipeline():
    X, digits = load_digits(return_X_y=True)
    y = np.array(["even", "odd"])[digits % 2]
    pipeline = make_pipeline(StandardScaler(), LogisticProbe(C=0.1))
    assert cross_val_score(pipeline, X[::3], y[::3], cv=3).min() > 0.8
    assert set(pipeline.fit(X, y).predict(X)) == {"even", "odd"}


def test_too_few_steps_warn():
    X, y = two_or_three(3)
    with pytest.warns(ConvergenceWarning, match="did not converge in 1 steps"):
        LogisticProbe(max_iter=1).fit(X, y)


@pytest.mark.parametrize("bad", [{"C": 0.0}, {"C": -1.0}, {"tol": 0.0}, {"max_iter": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="must be positive"):
        LogisticProbe(**bad).fit(*two_or_three(2))


def test_bad_weights_are_refused():
    X, y = two_or_three(3)
    with pytest.raises(ValueError, match="must not be negative"):
        LogisticProbe().fit(X, y, -np.ones(len(y)))
    with pytest.raises(ValueError, match="no item of class 1 has a positive weight"):
        LogisticProbe().fit(X, y, y != 1)
    with pytest.raises(ValueError, match="expected"):
        LogisticProbe().fit(X, y, np.ones(3))


@pytest.mark.filterwarnings("ignore:Line search of Newton solver")  # of scikit-learn's, which then takes another one
@pytest.mark.parametrize("C", [1.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("classes", [2, 3])
def test_far_apart_classes_equal_scikit_learn_at_any_penalty(classes, C):
    rng = np.random.default_rng(0)
    y = np.arange(150) % classes
    X = rng.normal(size=(150, 20)) + 6 * rng.normal(size=(classes, 20))[y]
    theirs = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=5000).fit(X, y)
    ours = LogisticProbe(C=C).fit(X, y)
    anywhere = 3 * rng.normal(size=(500, 20))  # the training items' own probabilities are 0 and 1 long before the end
    np.testing.assert_allclose(ours.predict_proba(anywhere), theirs.predict_proba(anywhere), atol=0.01)
