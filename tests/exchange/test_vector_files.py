"""Vectors in the files of other projects: what is written, what comes back, and what is refused before anything is."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter

from tests.artifacts.examples import ORIGIN, normal
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.function_vector import FunctionVector
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.position_vectors import PositionVectors
from workbench.artifacts.vector import Vector
from workbench.exchange.vector_files import FORMATS, Format, read_vector, write_vector
from workbench.models.edits import Add, ProjectOut
from workbench.models.gates import Gate
from workbench.models.model import Model
from workbench.models.positions import Positions
from workbench.models.sites import Site

D = 32
ENDINGS: dict[Format, str] = {"gguf": "gguf", "svec": "svec", "svec_read": "svec", "npz": "npz"}
HELD: dict[Format, tuple[Site, ...]] = {
    "gguf": (Site(1), Site(2)),
    "svec": (Site(0, "resid_pre"), Site(0), Site(1)),
    "svec_read": (Site(0), Site(2)),
    "npz": (Site(0), Site(1), Site(2)),
}


def vectors(model: Model, *sites: Site) -> LayerVectors:
    parts = tuple(Vector(ORIGIN, site, normal(D, seed=number)) for number, site in enumerate(sites))
    return LayerVectors(ORIGIN, parts).adopt(model.name, model.digest)


def added(steering: LayerVectors) -> dict[Site, torch.Tensor]:
    return {edit.site: edit.direction * edit.strength for edit in steering.edits()}


def directions(path: Path) -> dict[str, np.ndarray]:
    """As the gguf package reads them."""
    return {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}


@pytest.mark.parametrize("format", FORMATS)
def test_vectors_come_back_bit_by_bit(llama: Model, tmp_path: Path, format: Format):
    whole, path = vectors(llama, *HELD[format]), tmp_path / f"vector.{ENDINGS[format]}"
    assert write_vector(whole, llama, path, format=format) == path
    again = read_vector(path, llama, "sea", format=format)
    assert set(again.sites) == set(HELD[format])
    assert all(torch.equal(added(again)[site], added(whole)[site]) for site in HELD[format])
    assert (again.origin.concept, again.origin.model_digest) == ("sea", llama.digest)
    write_vector(again, llama, tmp_path / f"again.{ENDINGS[format]}", format=format)
    assert all(
        torch.equal(vector.direction, again[vector.site].direction)
        for vector in read_vector(tmp_path / f"again.{ENDINGS[format]}", llama, "sea", format=format).vectors
    )


def test_a_control_vector_says_what_llama_cpp_asks_for(llama: Model, tmp_path: Path):
    whole = vectors(llama, Site(1), Site(2))
    reader = GGUFReader(write_vector(whole, llama, tmp_path / "vector.gguf"))
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert fields == {
        "general.architecture": "controlvector",
        "controlvector.model_hint": "llama",
        "controlvector.layer_count": 2,
    }
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert [*found] == ["direction.1", "direction.2"]
    for number, tensor in enumerate(found.values(), 1):
        assert (tensor.tensor_type.name, tensor.shape.tolist()) == ("F32", [D])
        assert np.array_equal(tensor.data, whole[Site(number)].direction.numpy())


def test_what_goes_into_a_block_is_what_comes_out_of_the_one_below(llama: Model, tmp_path: Path):
    into, out = vectors(llama, Site(2, "resid_pre")), vectors(llama, Site(1))
    one, other = (write_vector(v, llama, tmp_path / f"{k}.gguf") for k, v in enumerate((into, out)))
    assert directions(one).keys() == directions(other).keys() == {"direction.1"}
    with llama.edited(into.edits()):
        before = llama.logits(["the sea"])[0]
    with llama.edited(read_vector(one, llama, "sea").edits()):
        assert torch.equal(llama.logits(["the sea"])[0], before)


def test_ibms_layer_l_is_added_to_the_input_of_block_l_and_read_at_its_output(llama: Model, tmp_path: Path):
    path = tmp_path / "vector.svec"
    write_vector(vectors(llama, Site(1)), llama, path)
    assert [*json.loads(path.read_text())["directions"]] == ["2"]
    assert read_vector(path, llama, "sea", format="svec_read").sites == (Site(2),)
    write_vector(vectors(llama, Site(1)), llama, path, format="svec_read")
    assert [*json.loads(path.read_text())["directions"]] == ["1"]
    assert read_vector(path, llama, "sea").sites == (Site(0),)


def test_unit_and_strength_are_multiplied_in(llama: Model, tmp_path: Path):
    vector = Vector(ORIGIN, Site(1), normal(D), unit=2.0).adopt(llama.name, llama.digest)
    expected = (normal(D) * 3).numpy()
    whole = write_vector(vector, llama, tmp_path / "vector.gguf", strength=1.5)
    edit = write_vector(vector.edit(1.5), llama, tmp_path / "edit.gguf")
    task = FunctionVector(vector.origin, Site(1), 2 * normal(D), torch.ones(1), (Site(0, "z").head(1),))
    function = write_vector(task, llama, tmp_path / "function.gguf", strength=1.5)
    for path in (whole, edit, function):
        assert np.array_equal(directions(path)["direction.1"], expected)


def refused(llama: Model) -> dict[str, tuple[Any, Format]]:
    """What formats cannot say, by the reason that is given."""
    add: dict[str, Any] = {"site": Site(1), "direction": normal(D)}
    same = [Add(**add), Add(site=Site(2, "resid_pre"), direction=normal(D))]
    narrow, above = Add(site=Site(1), direction=normal(16)), Add(site=Site(3), direction=normal(D))
    large = Add(site=Site(1), direction=normal(D) * 1e38, strength=1e5)
    two = vectors(llama, Site(0), Site(2))
    return {
        r"vector\.gguf cannot hold a direction for the output of block 0: llama.cpp refuses": (two, "gguf"),
        r"vector\.svec cannot hold a direction for the output of block 2: .* nothing comes after": (two, "svec"),
        r"vector\.npz cannot hold a direction for the embeddings": (vectors(llama, Site(0, "resid_pre")), "npz"),
        r"outputs of whole blocks.*writes at blocks\.1\.hook_mlp_out": (vectors(llama, Site(1, "mlp_out")), "gguf"),
        r"has the part \[coordinate 3\]": (Add(site=Site(1).coordinate(3), direction=normal(1)), "gguf"),
        "has the positions prompt": (Add(**add, positions=Positions("prompt")), "gguf"),
        "has a gate": (Add(**add, gate=Gate(site=Site(0), direction=normal(D), threshold=0.0)), "gguf"),
        "has a kept norm": (Add(**add, keep_norm=True), "gguf"),
        "has values for each row": (Add(**add, strength=torch.ones(2)), "gguf"),
        "hold additions only; the edit at .* is a ProjectOut": (ProjectOut(**add), "gguf"),
        "two additions go to the output of block 1": (same, "gguf"),
        r"has a direction of shape \[16\] for block 1; .* have 32 numbers": (narrow, "gguf"),
        "has a direction for block 3; tiny-llama has 3 blocks": (above, "gguf"),
        "not finite in float32": (large, "gguf"),
        "fitted on another model than tiny-llama; `adopt`": (vectors(llama, Site(1)).adopt("other", "1"), "gguf"),
        r"reads with the bias 0\.5": (replace(vectors(llama, Site(1)).vectors[0], bias=0.5), "gguf"),
        "comes from .*, which does not write by adding": (
            replace(vectors(llama, Site(1)).vectors[0], additive=False),
            "gguf",
        ),
        "holds no direction": ((), "gguf"),
        "hold additions at blocks, which a PositionVectors is not": (
            PositionVectors(vectors(llama, Site(1)).origin, Site(1), normal(3, D)),
            "gguf",
        ),
    }


def test_what_a_format_cannot_say_is_refused_before_anything_is_written(llama: Model, tmp_path: Path):
    for reason, (steering, format) in refused(llama).items():
        with pytest.raises(ArtifactError, match=reason):
            write_vector(steering, llama, tmp_path / f"vector.{format}")
    assert not [*tmp_path.iterdir()]


def test_a_bias_is_left_out_if_one_says_so(llama: Model, tmp_path: Path):
    biased = replace(vectors(llama, Site(1)).vectors[0], bias=0.5)
    path = write_vector(biased, llama, tmp_path / "vector.npz", drop_bias=True)
    assert torch.equal(read_vector(path, llama, "sea")[Site(1)].direction, biased.direction)


def test_a_format_is_named_or_is_the_files_ending(llama: Model, tmp_path: Path):
    whole = vectors(llama, Site(1))
    with pytest.raises(ArtifactError, match="there is no format 'safetensors'; the formats are gguf, svec, svec_read"):
        write_vector(whole, llama, tmp_path / "vector.safetensors")
    with pytest.raises(ArtifactError, match=r"is to be a \.svec file"):
        write_vector(whole, llama, tmp_path / "vector.json", format="svec")
    path = write_vector(whole, llama, tmp_path / "vector.bare", format="npz")
    assert read_vector(path, llama, "sea", format="npz").sites == (Site(1),)


def test_nothing_is_unpickled(llama: Model, tmp_path: Path):
    (tmp_path / "vector.pt").write_bytes(pickle.dumps({1: [0.0] * D}))
    with pytest.raises(ArtifactError, match=r"would have to be unpickled.*numpy\.savez"):
        read_vector(tmp_path / "vector.pt", llama, "sea")
    arrays: Any = {"1": np.array([Bomb()] * D, dtype=object)}
    np.savez(tmp_path / "vector.npz", **arrays)
    with pytest.raises(ArtifactError, match=r"object \[32\], expected floats \[32\]"):
        read_vector(tmp_path / "vector.npz", llama, "sea")


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize("name", ["direction.1", "direction_1", "layer.1", "layer_1", "layer1", "1"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8"])
def test_plain_arrays_may_have_any_of_these_names_and_types(llama: Model, tmp_path: Path, name: str, dtype: str):
    values = normal(D).half().numpy().astype(dtype)
    arrays: Any = {name: values}
    np.savez_compressed(tmp_path / "vector.npz", **arrays)
    found = read_vector(tmp_path / "vector.npz", llama, "sea")
    assert np.array_equal(found[Site(1)].direction.numpy(), values.astype("float32"))


def control_vector(path: Path, arrays: dict[str, np.ndarray], architecture: str = "controlvector") -> None:
    writer = GGUFWriter(path, architecture)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


GOOD = normal(D).numpy()
WITH_NAN = np.where(np.arange(D) == 3, np.nan, GOOD).astype("float32")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"direction.1": WITH_NAN}, "not finite in float32"),
        ({"direction.1": GOOD.astype("float16")}, r"of F16 \[32\]; expected only direction\.<block>, of F32 \[32\]"),
        ({"direction.1": GOOD[None].repeat(2, 0)}, r"of F32 \[32, 2\]"),
        ({"direction.1": GOOD[:16]}, r"of F32 \[16\]"),
        ({"direction.01": GOOD}, r"'direction\.01'"),
        ({"direction.-1": GOOD}, r"'direction\.-1'"),
        ({"weight.1": GOOD}, r"'weight\.1'"),
        ({"direction.3": GOOD}, "for block 3; tiny-llama has 3 blocks"),
        ({}, "holds no direction"),
    ],
)
def test_control_vectors_that_are_none_for_this_model_are_refused(llama, tmp_path, arrays, reason):
    path = tmp_path / "vector.gguf"
    control_vector(path, arrays)
    with pytest.raises(ArtifactError, match=reason) as error:
        read_vector(path, llama, "sea")
    assert str(path) in str(error.value)


def test_a_model_is_no_control_vector(llama: Model, tmp_path: Path):
    control_vector(tmp_path / "model.gguf", {"direction.1": GOOD}, "llama")
    with pytest.raises(ArtifactError, match="the architecture 'llama', expected 'controlvector'"):
        read_vector(tmp_path / "model.gguf", llama, "sea")


def svec(directions: Any) -> str:
    return json.dumps({"model_type": "llama", "directions": directions, "explained_variances": {}})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (svec({"1": WITH_NAN.tolist()}), "could not read"),
        (svec({"1": [1e300] * D}), "not finite in float32"),
        (svec({"1": [10**400] * D}), "not finite in float32"),
        (svec({"1": ["0"] * D}), "something else than a list of numbers for layer 1"),
        (svec({"1": [True] * D}), "something else than a list of numbers for layer 1"),
        (svec({"1": [[0.0]] * D}), "something else than a list of numbers for layer 1"),
        (svec({"1": [0.0] * 16}), r"shape \[16\] for block 0"),
        (svec({"01": [0.0] * D}), "for '01', expected the number of a layer"),
        (svec({"9": [0.0] * D}), "for block 8; tiny-llama has 3 blocks"),
        (svec([[0.0] * D]), "no object 'directions'"),
        (svec({}), "holds no direction"),
        ("[1]", "no object 'directions'"),
        (svec({"1": [0.0] * D})[:-9], "could not read"),
        ("[" * 100_000, "could not read"),
    ],
)
def test_damaged_svec_files_are_refused(llama: Model, tmp_path: Path, text: str, reason: str):
    (tmp_path / "vector.svec").write_text(text)
    with pytest.raises(ArtifactError, match=reason) as error:
        read_vector(tmp_path / "vector.svec", llama, "sea")
    assert str(tmp_path / "vector.svec") in str(error.value)


def huge(path: Path) -> None:
    """An array that says of itself that it has 10^15 numbers."""
    with ZipFile(path, "w") as archive, archive.open("direction.1.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})


def test_plain_arrays_that_are_no_directions_are_refused(llama: Model, tmp_path: Path):
    path = tmp_path / "vector.npz"
    bad = {
        r"int64 \[32\], expected floats": {"1": np.arange(D)},
        r"float32 \[16\], expected floats \[32\]": {"1": GOOD[:16]},
        r"float32 \[1, 32\]": {"1": GOOD[None]},
        "each block once": {"1": GOOD, "layer_1": GOOD},
        "'weights.npy' is not direction": {"weights": GOOD},
        "not finite in float32": {"1": np.full(D, 1e300)},
        "for block 3": {"3": GOOD},
        "holds no direction": {},
    }
    for reason, arrays in bad.items():
        np.savez(path, **arrays)
        with pytest.raises(ArtifactError, match=reason):
            read_vector(path, llama, "sea")
    huge(path)
    with pytest.raises(ArtifactError, match=r"\[1000000000000000\], expected floats \[32\]"):
        read_vector(path, llama, "sea")


@pytest.mark.parametrize("format", ["gguf", "svec", "npz"])
def test_a_file_cut_anywhere_is_refused(llama: Model, tmp_path: Path, format: Format):
    path = write_vector(vectors(llama, Site(1)), llama, tmp_path / f"vector.{format}")
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:end])
        with pytest.raises(ArtifactError):
            read_vector(path, llama, "sea")
    path.unlink()
    with pytest.raises(ArtifactError, match=f"vector.{format}"):
        read_vector(path, llama, "sea")
