"""How sure we are of a mean over two things that would both differ in another run, such as trainings and requests."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from workbench.evaluation.intervals import Bounds, Interval, bootstrap
from workbench.evaluation.metrics import MetricError


def bootstrap_crossed(
    values: Float[np.ndarray, "row column"],
    *,
    bounds: Bounds | None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of a table of few rows and many columns, of which another run would draw others.

    The widened percentile intervals over rows (their means) and over columns are put together as the root of the sum
    of squares, which counts what belongs to single cells twice (as do the pigeonhole bootstraps of Owen 2007,
    arXiv:0712.1111): never too narrow for it. n counts columns. One row leaves the interval over columns. Raises
    MetricError as `bootstrap`, and for a missing value.
    """
    options = {"level": level, "draws": draws, "seed": seed}
    if np.isnan(values).any():
        raise MetricError("bootstrap_crossed: needs every cell of the table; some are missing")
    over = bootstrap(values.mean(0), bounds=bounds, **options)
    rows = bootstrap(values.mean(1), bounds=None, **options)  # rows that are all alike add no spread
    if over.value is None or over.low is None or over.high is None or rows.low is None or rows.high is None:
        return over if over.low is not None else replace(rows, n=over.n)
    ends = (
        over.value - np.hypot(over.value - over.low, over.value - rows.low),
        over.value + np.hypot(over.high - over.value, rows.high - over.value),
    )
    low, high = np.clip(ends, *(bounds or (None, None)))
    return replace(over, low=float(low), high=float(high))
