"""The datasets that a configuration names: one resolver for every experiment."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench.data.axbench import read_axbench
from workbench.data.dataset import Dataset
from workbench.data.delimited import read_comma_separated
from workbench.data.items import DataError, several
from workbench.data.packaged import packaged
from workbench.data.sentiment import load_sentiment
from workbench.data.statements import families, load_statements, statements
from workbench.data.tables import read_csv, read_jsonl
from workbench.text import did_you_mean

NAMES = "`packaged`, `truth`, a family of statements (`cities`, `neg_cities`), or a path"


def datasets(names: Sequence[str], limit: int | None = None, seed: int = 0) -> list[Dataset]:
    """The datasets that names stand for, each with at most `limit` targets; `seed` splits statements.

    `truth` stands for every family of statements and its negation; a family's name for one of them (`cities`,
    `neg_cities`); `packaged`, a folder of AxBench's, a .jsonl or a .csv file for a concept set; a .csv file with the
    columns `statement` and `label` for statements; a .tsv file for sentiment. Raises what the readers raise, and
    DataError for a name that stands for nothing and where two datasets have one name.
    """
    several(names, "datasets")
    every = [found.subset(limit) for name in names for found in _named(name, seed)]
    if twice := [name for name, count in Counter(one.name for one in every).items() if count > 1]:
        raise DataError(f"two datasets are named {twice[0]!r}; rename a file, or ask for one of them")
    return every


def dataset(name: str, limit: int | None = None, seed: int = 0) -> Dataset:
    """The one dataset that a name stands for; without steering instructions it gets the packaged ones.

    Raises DataError as `datasets`, and for a name that stands for several.
    """
    found = datasets([name], limit, seed)
    if len(found) > 1:
        raise DataError(
            f"{name!r} stands for {len(found)} datasets; name one of {', '.join(one.name for one in found)}"
        )
    (one,) = found
    return one if one.instructions else replace(one, instructions=packaged().instructions)


def _named(name: str, seed: int) -> list[Dataset]:
    if name == "packaged":
        return [packaged()]
    if name == "truth":
        return [_family(f"{prefix}{family}", seed) for family in families() for prefix in ("", "neg_")]
    if name.removeprefix("neg_") in families():
        return [_family(name, seed)]
    path = Path(name)
    if not path.exists():
        raise DataError(_absent(name))
    if path.suffix == ".tsv":
        return [load_sentiment(path, seed)]
    if path.suffix == ".jsonl":
        return [read_jsonl(path)]
    if path.suffix == ".csv":
        return [load_statements(path, seed) if _is_statements(path) else read_csv(path)]
    return [read_axbench(path)]


def _absent(name: str) -> str:
    """What to do about a name that stands for nothing."""
    concepts = [target.name for target in packaged().targets]
    if name in concepts:
        return f"{name!r} is one of the packaged concepts and no set of them; the set is `packaged`"
    near = did_you_mean(name, ("packaged", "truth", *families(), *concepts))
    return f"there is no dataset {name!r}{near}; give {NAMES} that exists"


def _family(name: str, seed: int) -> Dataset:
    return statements(name.removeprefix("neg_"), negated=name.startswith("neg_"), seed=seed)


def _is_statements(path: Path) -> bool:
    return "statement" in (name.strip() for name in read_comma_separated(path).header)
