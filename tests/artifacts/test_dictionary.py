from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from steering.methods.diffmean import DiffMean
from steering.methods.random import RandomDirection
from tests.planted import D, concept_set, truth
from workbench.artifacts.artifact import Artifact, ArtifactError
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.vector import Vector
from workbench.data.items import Target
from workbench.models.sites import Site

CONCEPTS = tuple(
    Target(name, description, "text")
    for name, description in [
        ("sea", "ships and <sailing> at sea"),
        ("cooking", "cooking and preparing food"),
        ("probability", "probability and chance"),
    ]
)


@pytest.fixture(scope="module")
def vectors() -> list[Vector]:
    fitted = zip(DiffMean().fit_all(concept_set()), CONCEPTS, strict=True)
    return [replace(vector, origin=replace(vector.origin, concept=concept.name)) for vector, concept in fitted]


@pytest.fixture(scope="module")
def dictionary(vectors: list[Vector]) -> Dictionary:
    return Dictionary.of(vectors, CONCEPTS, "three")


def test_every_entry_is_the_vector_that_was_fitted(dictionary: Dictionary, vectors: list[Vector]):
    assert [vector.digest for vector in dictionary] == [vector.digest for vector in vectors]
    assert dictionary["cooking"].digest == dictionary[1].digest == vectors[1].digest
    assert len(dictionary) == 3


def test_it_comes_back_from_one_file(dictionary: Dictionary, tmp_path: Path):
    path = dictionary.save(tmp_path / "three.safetensors")
    again = Dictionary.load(path)
    assert again.digest == dictionary.digest
    assert again.origin == dictionary.origin
    assert (again.names, again.descriptions, again.data) == (dictionary.names, dictionary.descriptions, dictionary.data)
    assert torch.equal(again.units, dictionary.units)
    assert isinstance(Artifact.load(path), Dictionary)
    with safe_open(path, framework="pt") as file:
        assert list(file.metadata()) == ["workbench"]
    with pytest.raises(ArtifactError, match="as Vector: it holds the kind 'dictionary'; use Dictionary"):
        Vector.load(path)


def test_parts_join_to_the_whole(dictionary: Dictionary, vectors: list[Vector]):
    parts = [Dictionary.of(vectors[:1], CONCEPTS[:1], "three"), Dictionary.of(vectors[1:], CONCEPTS[1:], "three")]
    assert Dictionary.join(parts).digest == dictionary.digest


def test_blocks_of_two_commits_join_and_name_both(dictionary: Dictionary, vectors: list[Vector]):
    def by(code: str, vector: Vector) -> Vector:
        return replace(vector, origin=replace(vector.origin, code=code))

    first = Dictionary.of([by("0.1.0+gb", vectors[0])], CONCEPTS[:1], "three")
    rest = Dictionary.of([by("0.1.0+ga", vectors[1]), by("0.1.0+gc", vectors[2])], CONCEPTS[1:], "three")
    whole = Dictionary.join([first, rest])
    assert [part.origin.code for part in (first, rest)] == ["0.1.0+gb", "0.1.0+ga, 0.1.0+gc"]
    assert whole.origin.code == whole["sea"].origin.code == "0.1.0+ga, 0.1.0+gb, 0.1.0+gc"
    assert whole.content_digest == dictionary.content_digest
    assert [entry.content_digest for entry in whole] == [vector.content_digest for vector in vectors]


def test_detect_is_each_vectors_detect(dictionary: Dictionary, vectors: list[Vector]):
    x = torch.randn(7, D, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([vector.detect(x) for vector in vectors], 1)
    torch.testing.assert_close(dictionary.detect(x), expected)


def test_nearest_finds_the_planted_direction(dictionary: Dictionary):
    for number in range(3):
        best = dictionary.nearest(truth(number), k=2)
        assert [best[0].number, len(best)] == [number, 2]
        assert best[0].score > 0.9 > best[1].score
    assert dictionary.nearest(dictionary[2])[0].score == pytest.approx(1)
    assert [match.number for match in dictionary.nearest(-truth(0))][-1] == 0


@pytest.mark.parametrize(
    ("text", "name"), [("a sailing ship", "sea"), ("how to cook", "cooking"), ("chances", "probability")]
)
def test_search_finds_concepts_by_parts_of_words(dictionary: Dictionary, text: str, name: str):
    found = dictionary.search(text)
    assert found[0].name == name
    assert 0 < found[0].score <= 1
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)


def test_search_finds_nothing_where_nothing_is_shared(dictionary: Dictionary):
    assert dictionary.search("zzzz") == dictionary.search("") == []
    assert len(dictionary.search("and", k=1)) == 1


def test_what_does_not_go_together_is_refused(vectors: list[Vector], dictionary: Dictionary):
    moved = replace(vectors[1], site=Site(2))
    with pytest.raises(ArtifactError, match="'cooking' was not fitted as 'sea' was"):
        Dictionary.of([vectors[0], moved], CONCEPTS[:2], "x")
    other = RandomDirection().fit_all(concept_set())[1]
    with pytest.raises(ArtifactError, match="was not fitted as 'sea' was"):
        Dictionary.of([vectors[0], other], CONCEPTS[:2], "x")
    with pytest.raises(ArtifactError, match="does not go with"):
        Dictionary.join([dictionary, Dictionary.of(vectors, CONCEPTS, "four")])
    with pytest.raises(ArtifactError, match="has 'sea' twice"):
        Dictionary.join([dictionary, dictionary])
    with pytest.raises(ArtifactError, match=r"lengths \[3, 3, 3, 3, 2, 3\]"):
        replace(dictionary, descriptions=("a", "b"))
    with pytest.raises(ArtifactError, match="'cooking' in the dictionary 'three' has a direction or bias that"):
        replace(dictionary, units=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    with pytest.raises(ArtifactError, match=r"at blocks\.2\.hook_resid_post, the dictionary of tiny at blocks\.1"):
        dictionary.nearest(moved)
    with pytest.raises(ArtifactError, match=f"cannot be near directions of {D}"):
        dictionary.nearest(torch.ones(D + 1))


@pytest.mark.parametrize("concept", ["seas", 3, -1])
def test_a_concept_that_is_not_there_is_named(dictionary: Dictionary, concept: str | int):
    with pytest.raises(ArtifactError, match=f"has no {concept!r}; it has the numbers 0 to 2"):
        dictionary[concept]


def test_a_notebook_shows_it_escaped(dictionary: Dictionary):
    page = dictionary._repr_html_()
    assert "ships and &lt;sailing&gt; at sea" in page
    assert "<sailing>" not in page
    assert "three: 3 directions of DiffMean at blocks.1.hook_resid_post of tiny" in page
