import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.axbench.metric_descriptions import METRICS
from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.data.packaged import packaged
from workbench.evaluation.detection import ConceptScores, compat_auroc, compat_hard_negative_accuracy
from workbench.evaluation.judges.base import Rating
from workbench.evaluation.steering import Sample, Trial
from workbench.exchange.axbench_latent import write_latent
from workbench.exchange.axbench_numbers import read_results
from workbench.exchange.axbench_results import (
    WANDB_NAMES,
    ExchangeError,
    Rated,
    read_steering,
    steered,
    write_steering,
)

CONCEPTS = packaged().subset(2)
ASKED = {"weather": ["a?", "b?", "c?", "d?"], "cooking": ["b?", "e?", "f?", "g?"]}
STRENGTHS = (0.5, 1.0)
KINDS = (Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE)


def rated(concept: str, at: int, strength: float | None, method: str) -> tuple[Trial, tuple[Sample, Rating]]:
    trial = Trial(method, concept, ASKED[concept][at], strength, 18, 0)
    score = float(at % 3) if strength is None else min(2.0, strength * (at + 1))
    rating = Rating(score, 2.0, None, "no answer") if at == 3 else Rating(score, 2.0, 1.0)
    return trial, (Sample(f"{method} {concept} {at} {strength}", None if at == 1 else 3.0 + at), rating)


def half(places: tuple[int, ...], strengths: tuple[float, ...], prompt: bool) -> Rated:
    found = [rated(c, at, s, m) for c in ASKED for at in places for s in strengths for m in ("diffmean", "mine")]
    found += [rated(c, at, None, "prompt") for c in ASKED for at in places if prompt]
    return steered(
        dict(found),
        CONCEPTS,
        ASKED,
        unit=lambda trial: None if trial.method == "prompt" else 4.0,
        prompt=lambda trial: ("Speak of it. " if trial.method == "prompt" else "") + trial.instruction,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_steering(tmp_path, half((0, 1), STRENGTHS, False), half((2, 3), (1.0,), True))


def test_steering_data_has_axbenchs_columns_and_order(folder: Path):
    frame: Any = pd.read_parquet(folder / "inference" / "steering_data.parquet")
    assert list(frame.columns) == [
        *("dataset_name", "concept_id", "input_concept", "input_id", "factor", "original_prompt", "steered_input"),
        *("input", "sae_link", "sae_id"),
        *(f"DiffMean_{end}" for end in ("steered_generation", "perplexity", "strength")),
        *(f"mine_{end}" for end in ("steered_generation", "perplexity", "strength")),
        *(f"PromptSteering_{end}" for end in ("steered_generation", "perplexity", "strength")),
    ]
    keys = frame[["concept_id", "input_id", "factor"]]
    assert keys.equals(keys.sort_values(["concept_id", "input_id", "factor"]))
    assert len(frame) == 2 * (2 * 2 + 2)
    row = frame[(frame.concept_id == 1) & (frame.input_id == 0) & (frame.factor == 0.5)].iloc[0]
    assert row["DiffMean_steered_generation"] == "diffmean cooking 0 0.5"
    assert row["DiffMean_strength"] == 2.0
    assert row["input_concept"] == "cooking and preparing food"
    assert row["original_prompt"] == "b?"


def test_generations_come_back(folder: Path):
    again = read_steering(folder / "inference" / "steering_data.parquet")
    wrote = [one for one, _ in (*half((0, 1), STRENGTHS, False), *half((2, 3), (1.0,), True))]

    def told(texts):
        return {(o.method, o.concept_id, o.input_id): (o.text, o.perplexity, o.strength, o.instruction) for o in texts}

    factors = {(one.method, one.concept_id, one.input_id, one.factor) for one in wrote if one.factor is not None}
    assert told(again) == told(wrote)
    assert {(o.method, o.concept_id, o.input_id, o.factor) for o in again if o.method != "PromptSteering"} == factors
    prompts = {o.prompt for o in again if o.method == "PromptSteering"}
    assert "Speak of it. c?" in prompts


def test_a_generation_without_factor_is_there_at_every_factor(tmp_path: Path):
    both = [*half((2,), STRENGTHS, True)]
    write_steering(tmp_path, [], both)
    frame: Any = pd.read_parquet(tmp_path / "inference" / "steering_data.parquet")
    said = frame[frame.concept_id == 0].set_index("factor")["PromptSteering_steered_generation"]
    assert said.to_dict() == dict.fromkeys(STRENGTHS, "prompt weather 2 None")
    assert set(frame[frame.concept_id == 0]["steered_input"]) == {"Speak of it. c?"}


def test_ratings_are_means_by_factor_and_a_missing_one_is_left_out(folder: Path):
    first, _ = [json.loads(line) for line in (folder / "evaluate" / "steering.jsonl").read_text().splitlines()]
    judge = first["results"]["LMJudgeEvaluator"]
    assert set(judge) == {"DiffMean", "mine"}
    assert judge["DiffMean"]["factor"] == [0.5, 1.0]
    assert judge["DiffMean"]["relevance_concept_ratings"] == [pytest.approx(0.75), pytest.approx(1.5)]
    assert judge["DiffMean"]["raw_relevance_concept_ratings"] == [0.5, 1.0, 1.0, 2.0]  # by input_id, then factor
    perplexity = first["results"]["PerplexityEvaluator"]["DiffMean"]
    assert perplexity == {"perplexity": [3.0, 3.0], "strength": [2.0, 4.0], "factor": [0.5, 1.0]}
    test = json.loads((folder / "evaluate" / "steering_test.jsonl").read_text().splitlines()[0])
    reported = test["results"]["LMJudgeEvaluator"]["DiffMean"]
    assert reported["raw_fluency_ratings"] == [1.0, None]
    assert reported["fluency_ratings"] == [1.0]
    overall = Rating(2.0, 2.0, 1.0).overall
    assert reported["lm_judge_rating"] == [pytest.approx(overall)]


def test_two_seeds_in_one_folder_are_refused(tmp_path: Path):
    twice = [*half((0,), (1.0,), False), *half((0,), (1.0,), False)]
    with pytest.raises(ExchangeError, match=r"DiffMean answered instruction 0 of .* twice at factor 1\.0"):
        write_steering(tmp_path, twice, [])


def test_results_are_read_as_tidy_rows(folder: Path):
    frame: Any = read_results(folder / "evaluate" / "steering.jsonl")
    mine = frame[(frame.concept_id == 0) & (frame.method == "DiffMean") & (frame.metric == "relevance_concept_ratings")]
    assert mine.set_index("factor")["value"].to_dict() == {0.5: pytest.approx(0.75), 1.0: pytest.approx(1.5)}
    assert not frame.metric.str.startswith("raw").any()


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"concept_id": 0}', '{"concept_id": 0, "results": [1]}'])
def test_a_broken_line_is_named(tmp_path: Path, line: str):
    path = tmp_path / "latent.jsonl"
    path.write_text('{"concept_id": 0, "results": {}}\n' + line + "\n")
    with pytest.raises(ExchangeError, match=r"latent\.jsonl.* holds no results.*|line 2"):
        read_results(path)


def test_a_parquet_of_something_else_is_named(tmp_path: Path):
    path = tmp_path / "steering_data.parquet"
    path.write_bytes(b"nothing")
    with pytest.raises(ExchangeError, match="no readable parquet"):
        read_steering(path)
    pd.DataFrame({"concept_id": [1]}).to_parquet(path)
    with pytest.raises(ExchangeError, match="has no column input_concept"):
        read_steering(path)


def scored(seed: int = 0) -> tuple[Dataset, np.ndarray]:
    data = packaged().subset(3)
    draws = np.random.default_rng(seed).normal(size=data.labels.shape)
    return data, draws + 1.0 * (data.labels == Label.POSITIVE)


def test_latent_results_equal_the_published_definitions(tmp_path: Path):
    data, scores = scored()
    path = write_latent(tmp_path, data, {"probe": scores, "mine": -scores})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["concept_id"] for line in lines] == [0, 1, 2]
    for number, line in enumerate(lines):
        kinds = [scores[data.rows(number, "evaluation", label), number] for label in KINDS]
        found, roc = ConceptScores(*kinds), line["results"]["AUCROCEvaluator"]
        assert set(roc) == {"LinearProbe", "mine"}
        assert roc["LinearProbe"]["roc_auc"] == pytest.approx(compat_auroc(found), abs=1e-12)
        assert roc["LinearProbe"]["max_act"] == round(max(float(kind.max()) for kind in kinds), 3)
        hard = line["results"]["HardNegativeEvaluator"]["LinearProbe"]
        assert hard["macro_avg_accuracy"] == pytest.approx(compat_hard_negative_accuracy(found), abs=1e-12)
        assert set(line["results"]["LatentStatsEvaluator"]["mine"]) == {
            *("positive_accuracy", "negative_accuracy", "hard_negative_accuracy", "precision", "recall", "f1"),
            *("macro_avg_accuracy_fixed", "overall_accuracy", "max_act_val", "min_act_val"),
            *("optimal_roc_threshold", "optimal_pr_threshold"),
        }
    tidy: Any = read_results(path)
    assert tidy[tidy.metric == "roc_auc"].groupby("method")["value"].mean()["LinearProbe"] > 0.6


def test_stats_of_a_perfect_method_are_perfect(tmp_path: Path):
    data, _ = scored()
    perfect = (data.labels == Label.POSITIVE).astype(float)
    line = json.loads(write_latent(tmp_path, data, {"mine": perfect}).read_text().splitlines()[0])
    stats = line["results"]["LatentStatsEvaluator"]["mine"]
    shares = ("precision", "recall", "f1", "overall_accuracy", "macro_avg_accuracy_fixed", "hard_negative_accuracy")
    assert [stats[name] for name in shares] == [1.0] * len(shares)


def test_stats_at_the_best_f1_threshold_equal_scikit_learn(tmp_path: Path):
    from sklearn.metrics import f1_score, precision_score, recall_score

    data, scores = scored(3)
    line = json.loads(write_latent(tmp_path, data, {"mine": scores}).read_text().splitlines()[1])
    stats = line["results"]["LatentStatsEvaluator"]["mine"]
    kinds = [np.round(scores[data.rows(1, "evaluation", label), 1], 3) for label in KINDS]
    every, truth = np.concatenate(kinds), np.repeat([1, 0, 0], [len(kind) for kind in kinds])
    said = (every - every.min()) / np.ptp(every) >= stats["optimal_pr_threshold"]
    assert stats["f1"] == pytest.approx(f1_score(truth, said))
    assert stats["precision"] == pytest.approx(precision_score(truth, said))
    assert stats["recall"] == pytest.approx(recall_score(truth, said))


def test_scores_that_do_not_fit_are_refused(tmp_path: Path):
    data, scores = scored()
    with pytest.raises(ValueError, match="the scores of mine are"):
        write_latent(tmp_path, data, {"mine": scores[1:]})


def test_every_wandb_name_leads_to_a_metric_of_ours():
    parts = {"steering.curve", "steering.curve_concept", "steering.curve_instruction", "steering.curve_fluency"}
    assert set(WANDB_NAMES.values()) <= set(METRICS) | parts | {"detection.hard_negative_accuracy_compat"}
