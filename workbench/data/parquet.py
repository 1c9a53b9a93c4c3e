"""Parquet files whose rows are texts: opened and read with limits, since a small file can unpack to any size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.compute import call_function

from workbench.data.items import DataError

LONGEST = 2**20
"""Bytes that a cell of text may have: far more than a model reads."""
_UNPACKED, _TIMES = 2**26, 100
"""A file may unpack to so many bytes, or to so many times its own size: texts shrink to a tenth at best."""
_BATCH = 1024


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """The file while it is read.

    Raises DataError, naming it, if it is absent or no parquet file, or would unpack to far more than texts do; and
    inside the block for what is found to be damaged only then.
    """
    try:
        size = path.stat().st_size
        with pq.ParquetFile(path) as file:
            unpacked = sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
            if unpacked > max(_UNPACKED, _TIMES * size):
                raise DataError(f"{path} of {size} bytes would unpack to {unpacked}, which texts do not; make it anew")
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path} is no readable parquet file: {problem}") from problem


def batches(
    file: pq.ParquetFile, path: Path, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Some of the columns and row groups, in parts, each with the number of its first row among them, from 0.

    Raises DataError for a cell that is longer than LONGEST.
    """
    groups = range(file.num_row_groups) if groups is None else groups
    start = 0
    for batch in file.iter_batches(_BATCH, row_groups=list(groups), columns=None if columns is None else list(columns)):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                longest = max(call_function("binary_length", [column]).drop_null().to_pylist(), default=0)
                if longest > LONGEST:
                    raise DataError(f"{path} has a {name} of {longest} bytes; texts have at most {LONGEST}")
        yield start, batch
        start += len(batch)
