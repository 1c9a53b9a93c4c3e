"""AxBench's result files, written from a run and read from AxBench's own (arXiv:2501.17148, commit e9b8cd4).

`inference/steering_data.parquet` has a row for each concept, instruction and factor, and three columns for each method;
`evaluate/steering.jsonl` (the half of the instructions that choose the factor), `evaluate/steering_test.jsonl` (the
half that is reported) and `evaluate/latent.jsonl` have a line for each concept.

What AxBench logs to W&B is in `WANDB_NAMES`, beside where the same number is in our results.json.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.parquet import batches, open_parquet
from workbench.evaluation.judges.base import Rating
from workbench.evaluation.steering import Sample, Trial
from workbench.runs.files import canonical, replacing, write_text
from workbench.text import OneLineError

METHOD_NAMES = {
    "diffmean": "DiffMean",
    "pca_compat": "PCA",
    "lat_compat": "LAT",
    "probe": "LinearProbe",
    "reft_r1": "LsReFT",
    "ssv": "SteeringVector",
    "bag_of_words": "BoW",
    "random": "Random",
    "prompt": "PromptSteering",
}
"""Our registered names to AxBench's classes; a method that AxBench does not have keeps its own name."""

WANDB_NAMES = {
    "steering/Aggregated": "steering.curve",
    "steering/Concept": "steering.curve_concept",
    "steering/Instruct": "steering.curve_instruction",
    "steering/Fluency": "steering.curve_fluency",
    "steering/Perplexity": "steering.perplexity",
    "steering/winrate_plot": "steering.win_rate",
    "latent/roc_curve": "detection.auroc_compat",
    "latent/hard_negative_accuracy": "detection.hard_negative_accuracy_compat",
    "concept_table:auc": "detection.auroc_compat",
    "concept_table:best_factor": "steering.chosen_strength",
}
"""Keys of AxBench's W&B runs (`table:column` for a column of a table) to the metric in our results.json.

Its curves are means over concepts at each factor, as ours are at each strength; its perplexity is at every factor, ours
at the chosen strength; its win rate counts generations, ours concepts. AxBench also logs `latent/token_heatmap`,
`steering/winrate` and bar charts of logits, to which our report's shaded generations are the nearest.
"""

NO_FACTOR = 1.0
"""The factor of a method without strength, where no other method tells which factors there are."""

_SCORE, _PARTS = "lm_judge_rating", ("relevance_concept", "relevance_instruction", "fluency")
_KEY = ("dataset_name", "concept_id", "input_concept", "input_id", "factor", "original_prompt", "steered_input")
_TEXTS = {"dataset_name", "input_concept", "original_prompt", "steered_input", "input", "sae_link"}
_WHOLE = {"concept_id", "input_id", "sae_id"}
_GENERATION = "_steered_generation"
_KINDS = {int: "a whole number", float: "a number or null", str: "text"}


class ExchangeError(OneLineError, ValueError):
    """A file of another project that cannot be read or written; the message names it and the fault."""


@dataclass(frozen=True)
class Steered:
    """One generation of a steered model, as a row of AxBench's file and a group of its columns hold it."""

    method: str
    """AxBench's name of it; see `METHOD_NAMES`."""
    concept_id: int
    concept: str
    """The description."""
    input_id: int
    """The instruction's number among those of the concept; the selecting half comes first."""
    instruction: str
    text: str
    factor: float | None
    """Strength in units of the largest activation; None for a method without one."""
    strength: float | None = None
    """The same in activation units: factor times that activation."""
    perplexity: float | None = None
    prompt: str = ""
    """What a prompting method put to the model instead of the instruction; empty for other methods."""
    formatted: str = ""
    """The instruction in the model's chat format."""


Rated = Sequence[tuple[Steered, Rating]]


def steered(
    found: Mapping[Trial, tuple[Sample, Rating]],
    concepts: Dataset,
    instructions: Mapping[str, Sequence[str]],
    unit: Callable[[Trial], float | None],
    prompt: Callable[[Trial], str],
) -> Rated:
    """The trials of one seed and layer as AxBench's rows.

    `instructions` are each concept's in order, the selecting half first; `unit` gives the activation units of strength
    1, None where there are none; `prompt` what the model was asked. Raises KeyError or ValueError for a trial of
    another concept or instruction.
    """
    return [
        (_steered(trial, sample, concepts, instructions, unit(trial), prompt(trial)), rating)
        for trial, (sample, rating) in found.items()
    ]


def _steered(
    trial: Trial,
    sample: Sample,
    concepts: Dataset,
    instructions: Mapping[str, Sequence[str]],
    unit: float | None,
    prompt: str,
) -> Steered:
    number = concepts.index(trial.concept)
    return Steered(
        method=METHOD_NAMES.get(trial.method, trial.method),
        concept_id=number,
        concept=concepts.targets[number].description,
        input_id=list(instructions[trial.concept]).index(trial.instruction),
        instruction=trial.instruction,
        text=sample.text,
        factor=trial.strength,
        strength=None if unit is None or trial.strength is None else trial.strength * unit,
        perplexity=sample.perplexity,
        prompt="" if prompt == trial.instruction else prompt,
    )


def write_steering(folder: str | Path, selected: Rated, reported: Rated) -> Path:
    """Write `inference/steering_data.parquet`, `evaluate/steering.jsonl` and `evaluate/steering_test.jsonl`.

    `selected` are the generations that chose the strength, `reported` those at the chosen ones; one that is both is in
    the parquet file once. A generation without factor stands in every row of its instruction. A missing rating or
    perplexity is null, and left out of means. Raises ExchangeError for two generations of one method, concept,
    instruction and factor.
    """
    folder, place = Path(folder), Path(folder) / "evaluate"
    choosing = [one for one, _ in selected]
    others = [one for one, _ in reported if one not in set(choosing)]
    with replacing(folder / "inference" / "steering_data.parquet") as scratch:
        pq.write_table(_table([*choosing, *others]), scratch)
    write_text(place / "steering.jsonl", _lines(selected))
    write_text(place / "steering_test.jsonl", _lines(reported))
    return folder


def read_steering(path: str | Path) -> tuple[Steered, ...]:
    """The generations in a steering_data.parquet of AxBench's or ours, one each, in the order of rows and methods.

    A null or absent perplexity or strength is None. Raises ExchangeError naming the file for what is missing or of
    another type.
    """
    try:
        with open_parquet(Path(path)) as file:
            names = file.schema_arrow.names
            rows = [row for _, batch in batches(file, Path(path)) for row in batch.to_pylist()]
    except DataError as problem:
        raise ExchangeError(str(problem)) from problem
    wanted = ("concept_id", "input_concept", "input_id", "factor", "original_prompt")
    methods = [name.removesuffix(_GENERATION) for name in names if name.endswith(_GENERATION)]
    if missing := [name for name in wanted if name not in names]:
        raise ExchangeError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")
    if not methods:
        raise ExchangeError(f"{path} has no column that ends with {_GENERATION}: no method was steered")
    return tuple(
        _read(row, method, f"{path}, row {number}")
        for number, row in enumerate(rows, start=1)
        for method in methods
        if row[method + _GENERATION] is not None
    )


def _read(row: Mapping[str, Any], method: str, where: str) -> Steered:
    def cell(name: str, kind: type, default: object = None) -> Any:
        value = row.get(name, default)
        if value is None and default is not None:
            return default
        if type(value) is not kind and not (kind is float and (value is None or type(value) is int)):
            raise ExchangeError(f"{where} has {name} {value!r:.80}; expected {_KINDS[kind]}")
        return value

    def number(name: str) -> float | None:
        value = cell(name, float)
        return None if value is None or math.isnan(value) else float(value)

    return Steered(
        method=method,
        concept_id=cell("concept_id", int),
        concept=cell("input_concept", str),
        input_id=cell("input_id", int),
        instruction=cell("original_prompt", str),
        text=cell(method + _GENERATION, str),
        factor=number("factor"),
        strength=number(f"{method}_strength"),
        perplexity=number(f"{method}_perplexity"),
        prompt=cell("steered_input", str, ""),
        formatted=cell("input", str, ""),
    )


def _table(texts: Sequence[Steered]) -> pa.Table:
    methods = list(dict.fromkeys(one.method for one in texts))
    measured = [f"{method}{end}" for method in methods for end in (_GENERATION, "_perplexity", "_strength")]
    names = [*_KEY, "input", "sae_link", "sae_id", *measured]
    schema = pa.schema([(name, _type(name)) for name in names])
    return pa.Table.from_pylist(_rows(texts), schema=schema)


def _type(name: str) -> pa.DataType:
    if name in _TEXTS or name.endswith(_GENERATION):
        return pa.string()
    return pa.int64() if name in _WHOLE else pa.float64()


def _rows(texts: Sequence[Steered]) -> list[dict[str, Any]]:
    """The rows by concept, instruction and factor."""
    factors: dict[tuple[int, int], set[float]] = {}
    for one in texts:
        factors.setdefault((one.concept_id, one.input_id), set()).update(() if one.factor is None else (one.factor,))
    rows: dict[tuple[int, int, float], dict[str, Any]] = {}
    for one in texts:
        mine = factors[one.concept_id, one.input_id] or {NO_FACTOR}
        for factor in mine if one.factor is None else {one.factor}:
            row = rows.setdefault((one.concept_id, one.input_id, factor), _head(one, factor))
            if one.method + _GENERATION in row:
                raise ExchangeError(
                    f"{one.method} answered instruction {one.input_id} of {one.concept!r} twice at factor {factor}; "
                    "write each seed and layer to a folder of its own"
                )
            row["steered_input"] = row["steered_input"] or one.prompt
            row[one.method + _GENERATION] = one.text
            row[f"{one.method}_perplexity"], row[f"{one.method}_strength"] = one.perplexity, one.strength
    return [rows[key] for key in sorted(rows)]


def _head(one: Steered, factor: float) -> dict[str, Any]:
    return {
        "dataset_name": "AlpacaEval",
        "concept_id": one.concept_id,
        "input_concept": one.concept,
        "input_id": one.input_id,
        "factor": factor,
        "original_prompt": one.instruction,
        "steered_input": "",
        "input": one.formatted or one.instruction,
        "sae_link": "",
        "sae_id": -1,
    }


def _lines(rated: Rated) -> str:
    """A line a concept: the ratings and perplexities of every method, as lists over its factors."""
    lines = []
    for concept_id in sorted({one.concept_id for one, _ in rated}):
        mine = [(one, rating) for one, rating in rated if one.concept_id == concept_id]
        methods = dict.fromkeys(one.method for one, _ in mine)
        each = {method: _in_order([pair for pair in mine if pair[0].method == method]) for method in methods}
        results = {
            "LMJudgeEvaluator": {method: _ratings(found) for method, found in each.items()},
            "PerplexityEvaluator": {method: _perplexities(found) for method, found in each.items()},
        }
        lines.append(canonical({"concept_id": concept_id, "results": results}) + "\n")
    return "".join(lines)


def _in_order(rated: Rated) -> Rated:
    """By instruction and, within one, by factor, as the rows of the parquet file are."""
    known = [(replace(one, factor=NO_FACTOR if one.factor is None else one.factor), rating) for one, rating in rated]
    return sorted(known, key=lambda pair: (pair[0].input_id, pair[0].factor))


def _by_factor(rated: Rated) -> dict[float | None, Rated]:
    factors = sorted({one.factor for one, _ in rated if one.factor is not None})
    return {factor: [pair for pair in rated if pair[0].factor == factor] for factor in factors}


def _ratings(rated: Rated) -> dict[str, list]:
    """The mean of each rating at each factor, and every single rating."""
    single: dict[str, Callable[[Rating], float | None]] = {
        "aggregated": lambda rating: rating.overall,
        "relevance_concept": lambda rating: rating.concept,
        "relevance_instruction": lambda rating: rating.instruction,
        "fluency": lambda rating: rating.fluency,
    }
    groups = _by_factor(rated)
    means = {name: [_mean(get(r) for _, r in group) for group in groups.values()] for name, get in single.items()}
    return (
        {_SCORE: means["aggregated"], "factor": list(groups)}
        | {f"{part}_ratings": means[part] for part in _PARTS}
        | {f"raw_{name}_ratings": [get(rating) for _, rating in rated] for name, get in single.items()}
    )


def _perplexities(rated: Rated) -> dict[str, list]:
    groups = _by_factor(rated)
    return {
        "perplexity": [_mean(one.perplexity for one, _ in group) for group in groups.values()],
        "strength": [_mean(one.strength for one, _ in group) for group in groups.values()],
        "factor": list(groups),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
