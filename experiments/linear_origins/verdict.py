"""The report's first sentence: whether prediction alone made concepts linear."""

from collections.abc import Sequence

from workbench.runs.rows import Row
from workbench.text import number, number_of

LINEAR = 0.9
"""The mean cosine of a concept's matched pairs from which on it counts as one direction."""
_TABLES = {"unembed.within": "the unembedding", "embed.within": "the embedding"}


def verdict(rows: Sequence[Row]) -> str:
    """In how many settings matched pairs point one way in both tables, among the seeds that converged."""
    shares = [(row.value, row.n or 0) for row in rows if row.metric == "converged" and row.value is not None]
    reached, seeds = round(sum(share * n for share, n in shares)), sum(n for _, n in shares)
    cosines = {metric: _by_setting(rows, metric) for metric in _TABLES}
    settings = [name for name in cosines["unembed.within"] if name in cosines["embed.within"]]
    if not settings:
        return f"None of {number_of(seeds, 'seed')} converged: nothing can be said."
    linear = sum(all(values[name] >= LINEAR for values in cosines.values()) for name in settings)
    told = " and ".join(f"{_range(cosines[metric])} in {where}" for metric, where in _TABLES.items())
    return (
        f"Prediction alone makes concepts linear in {linear} of {number_of(len(settings), 'setting')} with converged "
        f"seeds ({reached} of {seeds}): matched pairs of one concept have a mean cosine of {told}, where 1 is one "
        f"direction and {LINEAR} counts as linear."
    )


def _by_setting(rows: Sequence[Row], metric: str) -> dict[str, float]:
    return {row.method: row.value for row in rows if row.metric == metric and row.value is not None}


def _range(values: dict[str, float]) -> str:
    low, high = number(min(values.values()), 2), number(max(values.values()), 2)
    return low if low == high else f"{low} to {high}"
