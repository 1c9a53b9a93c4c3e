"""Fitting block by block: memory holds the texts and states of one block, and every direction is a unit of the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.directions.source import Source
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.vector import Vector
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
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

    A concept whose texts are not enough, such as one without positives in validation, is left out, as the log says.
    Raises what the method raises, DataError where no concept is left, and ArtifactError if two have one name.
    """
    n, targets = len(source.targets), []
    vectors: list[Vector] = []
    for start in progress("directions", range(0, n, block), unit="block"):
        for texts in _readable(run, source, range(start, min(start + block, n))):
            vectors += _fit(run, texts, method, site, model)
            targets += texts.targets
    if not targets:
        raise DataError(f"none of the {n} concepts of {source.name} can be fitted; the log says why")
    return Dictionary.of(vectors, targets, source.name)


def _readable(run: Run, source: Source, numbers: Sequence[int]) -> list[Dataset]:
    """The texts of these concepts, in one set if all are whole, else in several without those that are not."""
    try:
        return [source.read(numbers)]
    except DataError as error:
        if len(numbers) == 1:
            run.log.warning("%s is left out: %s", source.targets[numbers[0]].name, error)
            return []
    half = len(numbers) // 2
    return _readable(run, source, numbers[:half]) + _readable(run, source, numbers[half:])


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
