"""Fitting block by block: each block is a unit of the run, a dictionary of its own, and all are joined at the end."""

from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from experiments.directions.source import Source
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.vector import Vector
from workbench.data.states import States, Through
from workbench.methods.method import AdditiveMethod
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.files import digest
from workbench.runs.run import Run


def fit_dictionary(
    run: Run, model: Model, source: Source, method: AdditiveMethod, site: Site, block: int
) -> Dictionary:
    """A direction for each concept of the source; blocks that the run has finished are read from its folder.

    Raises what the method raises, DataError for a concept without positives or negatives, and ArtifactError if two
    concepts have one name.
    """
    concepts, through = source.targets, Through(model, run.folder / "training")
    parts = []
    for start in tqdm(range(0, len(concepts), block), desc="directions", unit="block", disable=None):
        numbers = range(start, min(start + block, len(concepts)))

        def write(path: Path, numbers: Sequence[int] = numbers) -> None:
            _fit(source, numbers, method, site, through).save(path)

        texts = [concepts[number].description for number in numbers]
        key = digest([model.digest, str(site), source.name, texts])[:16]
        path = run.unit_file(f"block/{start}/{key}", write, ".safetensors")
        parts.append(Dictionary.load(path))
    return Dictionary.join(parts)


def _fit(source: Source, numbers: Sequence[int], method: AdditiveMethod, site: Site, through: Through) -> Dictionary:
    concepts = source.read(numbers)
    states = States.read(concepts, through.model, site, folder=through.folder)
    vectors: list[Vector] = method.fit_all(states)
    return Dictionary.of(vectors, concepts.targets, source.name)
