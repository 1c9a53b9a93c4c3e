"""From whatever a researcher has to a dataset of concepts: a name, a file, a frame, or texts by concept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from workbench.arguments import unlike, whole
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, several
from workbench.data.named import dataset
from workbench.data.own_tables import TextsByConcept, check_unneeded, own_frame, own_texts
from workbench.data.packaged import packaged
from workbench.data.tables import TableLike, is_labelled, table_frame

ConceptSource = Dataset | TextsByConcept | pd.DataFrame | TableLike | str | Path
"""What concepts can be taken from."""
_TAKEN = (
    "a dict from a concept's name to its texts, {'the sea': [...]}, a frame, another table with to_pandas() or a .csv "
    "or .jsonl file with the columns concept and text, a name such as 'packaged', or a Dataset"
)


def concepts(source: ConceptSource | None = None, *, negatives: Sequence[str] | None = (), seed: int = 0) -> Dataset:
    """A dataset of concepts: the packaged one, or one made from your texts.

    `source` is nothing (the packaged set), a dict from a concept's description to texts that carry it, a frame, another
    table with `to_pandas()` (`datasets.Dataset`, `pyarrow.Table`) or a file with the columns `concept` and `text` (and
    `instruction` and `split`, on demand; a row without concept is a negative), or any name that the experiments take. A
    table with all columns of `workbench.data.tables` is taken as it stands. Concepts are told apart without case and
    white space.

    What is not given is made, and said on standard error. Splits: 60 % of a concept's texts train, 20 % choose, 20 %
    are held out, drawn by `seed`. Negatives: `negatives`, or the packaged neutral texts; and, outside evaluation, the
    other concepts' texts. Raises DataError for a concept with fewer than three texts, for `negatives` and `seed` beside
    what has its own negatives and splits, and as the readers do.
    """
    negatives = () if negatives is None else negatives
    several(negatives, "negatives")
    if whole("seed", seed, error=DataError) < 0:
        raise DataError(f"seed is {seed}; expected a whole number from 0 on")
    if isinstance(source, str | Path):
        return dataset(str(source), seed=seed, negatives=negatives)
    if isinstance(source, Mapping):
        return own_texts(source, negatives, seed)
    if isinstance(source, pd.DataFrame | TableLike):
        frame, name = (source, "frame") if isinstance(source, pd.DataFrame) else (table_frame(source), "dataset")
        if is_labelled(frame.columns):
            check_unneeded(name, negatives, seed)
        return own_frame(frame, name, negatives, seed)
    if not isinstance(source, Dataset | None):
        raise DataError(unlike("what concepts are made from", source, _TAKEN))
    found = packaged() if source is None else source
    check_unneeded(f"set {found.name!r}", negatives, seed)
    return found
