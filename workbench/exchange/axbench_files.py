"""AxBench's data files, written from a concept set (arXiv:2501.17148; stanfordnlp/axbench, commit e9b8cd4).

`workbench.data.axbench` reads them back; `workbench.exchange.axbench_results` writes what came of a run.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.data.dataset import Dataset
from workbench.data.items import CATEGORIES, GENRES, DataError, Genre, Item, Label, Target
from workbench.runs.files import replacing, write_text

SHARED = -1
"""The concept_id of a negative that belongs to all concepts of its genre."""
NO_CONCEPT = "EEEEE"
"""What stands for the concept of such a row."""
NO_FEATURE = -1
"""The sae_id of a concept that was not named after a feature."""

TRAIN_SCHEMA = pa.schema(
    [
        ("input", pa.string()),
        ("output", pa.string()),
        ("output_concept", pa.string()),
        ("concept_genre", pa.string()),
        ("category", pa.string()),
        ("dataset_category", pa.string()),
        ("concept_id", pa.int64()),
    ]
)
EVALUATION_SCHEMA = TRAIN_SCHEMA.append(pa.field("sae_link", pa.string())).append(pa.field("sae_id", pa.int64()))

_NAMES = {label: name for name, label in CATEGORIES.items()}
_ORDER = [Label.POSITIVE, Label.NEGATIVE, Label.HARD_NEGATIVE]


Sharers = dict[str, frozenset[int] | None]
"""The concepts that share the negatives of a genre; None where not all concepts of the genre have the same ones."""


def write_axbench(concepts: Dataset, folder: str | Path, refs: Sequence[str] = ()) -> Path:
    """Write a set as a folder that AxBench's own code and `read_axbench` take; returns the folder.

    Writes `generate/metadata.jsonl`, `generate/train_data.parquet` and `inference/latent_eval_data.parquet`; concept_id
    is the concept's number. `refs` are the links of the features that the concepts are named after, if they are.
    AxBench has no validation split, no names and no steering instructions: train and validation items go to the
    train file (`read_axbench` chooses validation anew), and an example of several concepts is there for each of them,
    unless it is a negative of all concepts that draw on its genre. An example of no concept is left out where its
    genre's negatives are shared.

    Raises DataError for a set without train or evaluation items, and unless there are as many links as concepts.
    """
    if refs and len(refs) != len(concepts.targets):
        raise DataError(f"{len(refs)} links for {len(concepts.targets)} concepts; give one for each, or none")
    if not {"train", "evaluation"} <= set(concepts.splits):
        raise DataError(f"set {concepts.name!r} has {', '.join(concepts.splits)}; AxBench wants train and evaluation")
    folder, links = Path(folder), list(refs) or [""] * len(concepts.targets)
    evaluation = concepts.split == "evaluation"
    train = np.flatnonzero(~evaluation).tolist()
    sharers: Sharers = {genre: _sharers(concepts, train, genre) for genre in GENRES}
    lines = [
        json.dumps(_metadata(number, concept, links[number], sharers)) + "\n"
        for number, concept in enumerate(concepts.targets)
    ]
    write_text(folder / "generate" / "metadata.jsonl", "".join(lines))
    _write(folder / "generate" / "train_data.parquet", _train_rows(concepts, train, sharers), TRAIN_SCHEMA)
    rows = _evaluation_rows(concepts, np.flatnonzero(evaluation), links)
    _write(folder / "inference" / "latent_eval_data.parquet", rows, EVALUATION_SCHEMA)
    return folder


def _sharers(concepts: Dataset, rows: Sequence[int], genre: Genre) -> frozenset[int] | None:
    own = {number for number, concept in enumerate(concepts.targets) if concept.genre == genre}
    counts = Counter(
        negative
        for row in rows
        if concepts.items[row].genre == genre
        for negative in [_only_negative(concepts, row)]
        if negative is not None and own <= negative
    )
    return counts.most_common(1)[0][0] if counts else None


def _only_negative(concepts: Dataset, row: int) -> frozenset[int] | None:
    """The concepts that a row is a negative of; None if it is something else to one of them."""
    labels = concepts.labels[row]
    if ((labels != Label.NEGATIVE) & (labels != Label.ABSENT)).any():
        return None
    return frozenset(np.flatnonzero(labels == Label.NEGATIVE).tolist())


def _metadata(number: int, concept: Target, link: str, sharers: Sharers) -> dict[str, Any]:
    others = [genre for genre in GENRES if genre != concept.genre and number in (sharers[genre] or ())]
    genres = {concept.description: [concept.genre, *others]}
    return {"concept_id": number, "concept": concept.description, "ref": link, "concept_genres_map": genres}


def _train_rows(concepts: Dataset, rows: Sequence[int], sharers: Sharers) -> list[dict[str, Any]]:
    """The shared negatives, then each concept's own rows."""
    negative = {row: _only_negative(concepts, row) for row in rows}
    shared = [row for row in rows if negative[row] is not None and negative[row] == sharers[concepts.items[row].genre]]
    own = sorted(set(rows) - set(shared))
    found = [_cells(concepts.items[row], SHARED, NO_CONCEPT, Label.NEGATIVE) for row in shared]
    for number, concept in enumerate(concepts.targets):
        for row in own:
            label = Label(int(concepts.labels[row, number]))
            if label != Label.ABSENT:
                said = NO_CONCEPT if label == Label.NEGATIVE else concept.description
                found.append(_cells(concepts.items[row], number, said, label))
    return found


def _evaluation_rows(concepts: Dataset, rows: np.ndarray, links: Sequence[str]) -> list[dict[str, Any]]:
    """Target by concept: positives, negatives, hard negatives."""
    found = []
    for number, concept in enumerate(concepts.targets):
        feature = {"sae_link": links[number], "sae_id": _feature(links[number])}
        for label in _ORDER:
            for row in rows[concepts.labels[rows, number] == label]:
                found.append(_cells(concepts.items[row], number, concept.description, label) | feature)
    return found


def _cells(item: Item, concept_id: int, concept: str, label: Label) -> dict[str, Any]:
    hard = label == Label.HARD_NEGATIVE
    return {
        "input": item.instruction,
        "output": item.response,
        "output_concept": f"{item.word or ''}//{item.sense or ''}" if hard else concept,
        "concept_genre": item.genre,
        "category": _NAMES[label],
        "dataset_category": "instruction",
        "concept_id": concept_id,
    }


def _feature(link: str) -> int:
    """The number that a Neuronpedia link ends with."""
    last = link.rpartition("/")[2]
    return int(last) if last.isdecimal() else NO_FEATURE


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    with replacing(path) as scratch:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), scratch)
