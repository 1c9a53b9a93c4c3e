"""Fitting block by block: memory holds the texts and states of one block, and every direction is a unit of the run."""

from collections.abc import Mapping
from pathlib import Path

from tqdm.auto import tqdm

from experiments.directions.source import Source
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.vector import Vector
from workbench.data.concepts import ConceptSet
from workbench.data.items import concept_digest
from workbench.data.labelled import LabelledSet, Through, tokens_of
from workbench.methods import AdditiveMethod
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.run import Run


def fit_dictionary(
    run: Run, model: Model, source: Source, method: AdditiveMethod, site: Site, block: int
) -> Dictionary:
    """A direction for each concept of the source; those that the run has, of the same texts, are read from its folder.

    Raises what the method raises, ConceptError for a concept without positives or negatives, and ArtifactError if two
    concepts have one name.
    """
    concepts, through = source.concepts, Through(model, run.folder / "training")
    vectors: list[Vector] = []
    for start in tqdm(range(0, len(concepts), block), desc="directions", unit="block", disable=None):
        texts = source.read(range(start, min(start + block, len(concepts))))
        vectors += _fit(run, texts, method, site, through)
    return Dictionary.of(vectors, concepts, source.name)


def _fit(run: Run, concepts: ConceptSet, method: AdditiveMethod, site: Site, through: Through) -> list[Vector]:
    """The vectors of one block; the model reads the texts of those concepts only that are missing."""
    fitted = {**through.model.identity, "site": str(site), **method.identity}
    columns = {f"fit/{concept.name}": column for column, concept in enumerate(concepts.concepts)}
    inputs = {name: {**fitted, "items": concept_digest(concepts, column)} for name, column in columns.items()}

    def write(paths: Mapping[str, Path]) -> dict[str, None]:
        mine = concepts.select([columns[name] for name in paths])
        states = through.model.read(tokens_of(mine, through.model), site)
        vectors = method.fit_all(LabelledSet.of(mine, states, site, through))
        for path, vector in zip(paths.values(), vectors, strict=True):
            vector.save(path)
        return dict.fromkeys(paths)

    return [Vector.load(stored.path) for stored in run.units.files(inputs, write, ".safetensors").values()]
