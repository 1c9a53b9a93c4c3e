"""AxBench's detection results: `evaluate/latent.jsonl`, from the scores of a run (arXiv:2501.17148, commit e9b8cd4).

The definitions are those of the published code, whatever is to be said against them: scores are rounded to three
decimals and scaled to 0..1 over the concept's evaluation texts, thresholds are chosen on the very texts they are judged
on, and hard negatives are not in the ROC curve.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.exchange.axbench_results import METHOD_NAMES
from workbench.runs.files import canonical, write_text

_KINDS = {"positive": Label.POSITIVE, "negative": Label.NEGATIVE, "hard_negative": Label.HARD_NEGATIVE}


def write_latent(
    folder: str | Path, concepts: Dataset, scores: Mapping[str, Float[np.ndarray, "text concept"]]
) -> Path:
    """Write `evaluate/latent.jsonl` from each method's scores of the set's items, and return its path.

    Raises ValueError for scores of another shape or that are not finite.
    """
    for method, found in scores.items():
        if found.shape != concepts.labels.shape or not np.isfinite(found).all():
            raise ValueError(
                f"the scores of {method} are {found.shape}, finite: {bool(np.isfinite(found).all())}; "
                f"expected finite ones for {concepts.labels.shape}, texts by concepts"
            )
    lines = []
    for number in range(len(concepts.targets)):
        each = {
            METHOD_NAMES.get(name, name): _one(concepts, found[:, number], number) for name, found in scores.items()
        }
        evaluators = list(next(iter(each.values()), {}))
        results = {evaluator: {method: found[evaluator] for method, found in each.items()} for evaluator in evaluators}
        lines.append(canonical({"concept_id": number, "results": results}) + "\n")
    path = Path(folder) / "evaluate" / "latent.jsonl"
    write_text(path, "".join(lines))
    return path


def _one(concepts: Dataset, scores: np.ndarray, number: int) -> dict[str, dict[str, Any]]:
    """What the three evaluators say of one method and concept."""
    raw = {kind: _rounded(scores[concepts.rows(number, "evaluation", label)]) for kind, label in _KINDS.items()}
    every = np.concatenate(list(raw.values()))
    low, span = every.min(), np.ptp(every)
    scaled = {kind: (values - low) / (span or 1.0) for kind, values in raw.items()}
    ranked = np.concatenate([scaled["positive"], scaled["negative"]])
    positive = np.arange(len(ranked)) < len(scaled["positive"])
    false_rate, true_rate, thresholds = roc_curve(positive, ranked)
    cut = float(thresholds[np.argmax(true_rate - false_rate)])
    roc = {
        "max_act": float(every.max()),
        "roc_auc": float(auc(false_rate, true_rate)),
        "optimal_threshold": _finite(cut),
        "roc_curve": {"fpr": false_rate.tolist(), "tpr": true_rate.tolist()},
    }
    extremes = {"max_act_val": float(every.max()), "min_act_val": float(every.min())}
    return {
        "AUCROCEvaluator": roc,
        "HardNegativeEvaluator": _hard(scaled, cut),
        "LatentStatsEvaluator": _stats(scaled, ranked, positive) | extremes | {"optimal_roc_threshold": _finite(cut)},
    }


def _rounded(scores: np.ndarray) -> np.ndarray:
    return np.array([round(float(score), 3) for score in scores.tolist()], dtype=np.float64)


def _hard(scaled: Mapping[str, np.ndarray], cut: float) -> dict[str, float]:
    """Mean accuracy of positives and hard negatives; nothing without these, or without a threshold."""
    if not len(scaled["hard_negative"]) or np.isinf(cut):
        return {}
    found, false = (scaled["positive"] >= cut).mean(), (scaled["hard_negative"] >= cut).mean()
    return {"macro_avg_accuracy": float(found + 1 - false) / 2}


def _stats(scaled: Mapping[str, np.ndarray], ranked: np.ndarray, positive: np.ndarray) -> dict[str, float | None]:
    """At the threshold of best F1 on positives and negatives; hard negatives count as negatives afterwards."""
    precision, recall, thresholds = precision_recall_curve(positive, ranked)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    cut = float(thresholds[np.argmax(f1[:-1])])
    said = {kind: values >= cut for kind, values in scaled.items()}
    right = {kind: found if kind == "positive" else ~found for kind, found in said.items()}
    shares = {kind: float(found.mean()) if len(found) else None for kind, found in right.items()}
    hits, claims = int(said["positive"].sum()), sum(int(found.sum()) for found in said.values())
    there = [share for share in shares.values() if share is not None]
    return {f"{kind}_accuracy": share for kind, share in shares.items()} | {
        "precision": hits / claims if claims else 0.0,
        "recall": hits / len(scaled["positive"]),
        "f1": 2 * hits / (claims + len(scaled["positive"])),
        "macro_avg_accuracy_fixed": sum(there) / len(there),
        "overall_accuracy": float(np.concatenate(list(right.values())).mean()),
        "optimal_pr_threshold": cut,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
