"""Fitting block by block: memory holds the texts and states of one block, and every direction is a unit of the run."""

from collections.abc import Mapping
from pathlib import Path

from experiments.directions.source import Source
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.vector import Vector
from workbench.data.dataset import Dataset
from workbench.data.states import States
from workbench.methods.method import AdditiveMethod
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.progress import progress
from workbench.runs.run import Run


def fit_dictionary(
    run: Run, model: Model, source: Source, method: AdditiveMethod, site: Site, block: int
) -> Dictionary:
    """A direction for each concept of the source; those that the run has, of the same texts, are read from its folder.

    Raises what the method raises, DataError for a concept without positives or negatives, and ArtifactError if two
    concepts have one name.
    """
    targets = source.targets
    vectors: list[Vector] = []
    for start in progress("directions", range(0, len(targets), block), unit="block"):
        texts = source.read(range(start, min(start + block, len(targets))))
        vectors += _fit(run, texts, method, site, model)
    return Dictionary.of(vectors, targets, source.name)


def _fit(run: Run, concepts: Dataset, method: AdditiveMethod, site: Site, model: Model) -> list[Vector]:
    """The vectors of one block; the model reads the texts of those concepts only that are missing."""
    fitted = {**model.identity, "site": str(site), **method.identity}
    columns = {f"fit/{target.name}": column for column, target in enumerate(concepts.targets)}
    inputs = {name: {**fitted, "items": concepts.digest_of(column)} for name, column in columns.items()}

    def write(paths: Mapping[str, Path]) -> dict[str, None]:
        mine = concepts.select([columns[name] for name in paths])
        vectors = method.fit_all(States.read(mine, model, method.reads(site), folder=run.folder / "training"))
        for path, vector in zip(paths.values(), vectors, strict=True):
            vector.save(path)
        return dict.fromkeys(paths)

    return [Vector.load(stored.path) for stored in run.units.files(inputs, write, ".safetensors").values()]
