"""The numbers in AxBench's result lines, its own or ours, as tidy rows (arXiv:2501.17148, commit e9b8cd4)."""

from collections.abc import Mapping
from operator import index
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.data.cells import json_lines, read_text
from workbench.data.items import DataError
from workbench.exchange.axbench_results import ExchangeError


def read_results(path: str | Path) -> pd.DataFrame:
    """The numbers of a steering.jsonl, steering_test.jsonl or latent.jsonl of AxBench's or ours as tidy rows.

    Columns: concept_id, evaluator, method, metric, factor (NaN where there is none) and value; single ratings, curves
    and completions are left out. Raises ExchangeError naming file and line for what is no such line.
    """
    try:
        entries = json_lines(read_text(path), str(path))
    except (DataError, OSError) as problem:
        raise ExchangeError(f"{path} holds no results of AxBench: {problem}") from problem
    rows = []
    for number, entry in entries:
        try:
            found = [
                (index(entry["concept_id"]), evaluator, method, *cells)
                for evaluator, methods in entry["results"].items()
                for method, metrics in methods.items()
                for cells in _tidy(metrics)
            ]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as problem:
            raise ExchangeError(f"{path}, line {number} holds no results of AxBench: {problem!r}") from problem
        rows += found
    return pd.DataFrame(rows, columns=["concept_id", "evaluator", "method", "metric", "factor", "value"])


def _tidy(metrics: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    factors, nothing = metrics.get("factor", []), float("nan")
    found = []
    for name, value in metrics.items():
        if isinstance(value, list) and len(value) == len(factors) and name != "factor" and not name.startswith("raw_"):
            pairs = [(factor, one) for factor, one in zip(factors, value, strict=True) if not isinstance(one, str)]
            found += [(name, float(factor), nothing if one is None else float(one)) for factor, one in pairs]
        elif isinstance(value, int | float):
            found.append((name, nothing, float(value)))
    return found
