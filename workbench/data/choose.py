"""The concept set that a configuration names."""

from dataclasses import replace
from pathlib import Path

from workbench.data.axbench import read_axbench
from workbench.data.concepts import ConceptSet
from workbench.data.packaged import packaged
from workbench.data.tables import read_csv, read_jsonl


def choose(name: str) -> ConceptSet:
    """`packaged`, or what lies at a path: a .jsonl or .csv file, or a folder made by AxBench.

    A set without steering instructions gets the packaged ones. Raises ConceptError for data that is not whole.
    """
    own = packaged()
    if name == "packaged":
        return own
    path = Path(name)
    read = {".jsonl": read_jsonl, ".csv": read_csv}.get(path.suffix, read_axbench)
    found = read(path)
    return found if found.steering_instructions else replace(found, steering_instructions=own.steering_instructions)
