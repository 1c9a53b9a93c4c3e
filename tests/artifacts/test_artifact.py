"""What all artifacts share: their digests, the code they name, and the files that they make and read."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from steering.methods.diffmean import DiffMean
from tests.artifacts.examples import ORIGIN, SITE, examples, normal
from tests.planted import planted
from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.artifacts.artifact import Artifact, ArtifactError, Origin
from workbench.artifacts.bag_of_words import BagOfWordsWeights
from workbench.artifacts.classifier_head import ClassifierHead
from workbench.artifacts.eraser import Eraser
from workbench.artifacts.file import Contents
from workbench.artifacts.prompt import Prompt
from workbench.artifacts.vector import Vector
from workbench.runs.environment import code_version


def test_an_artifact_knows_the_code_that_made_it() -> None:
    assert DiffMean().fit(planted()).origin.code == code_version()


@pytest.mark.parametrize("kind", examples())
def test_the_content_is_the_same_whichever_commit_made_it(kind: str, tmp_path: Path) -> None:
    artifact = examples()[kind]
    other = replace(artifact, origin=replace(artifact.origin, code="0.2.0+gabcdef0.dirty"))
    assert artifact.digest != other.digest
    assert artifact.content_digest == other.content_digest == examples()[kind].content_digest
    assert artifact.content_digest == Artifact.load(artifact.save(tmp_path / "a")).content_digest


@pytest.mark.parametrize(
    "change",
    [
        *({name: "other"} for name in ("method", "settings", "concept", "model", "model_digest", "data")),
        {"concept": None},
        {"seed": 4},
    ],
)
def test_every_other_fact_of_the_origin_is_content(change: dict) -> None:
    for artifact in examples().values():
        assert replace(artifact, origin=replace(ORIGIN, **change)).content_digest != artifact.content_digest


def test_every_number_setting_and_kind_is_content() -> None:
    vector = Vector(ORIGIN, SITE, normal(4), 0.5, 2.0)
    nudged = vector.direction.clone()
    nudged[3] = torch.nextafter(nudged[3], torch.tensor(9.0))
    half = normal(4).half().float()
    variants = [
        vector,
        replace(vector, direction=nudged),
        replace(vector, direction=half),
        replace(vector, direction=half.half()),
        replace(vector, direction=half.bfloat16()),
        replace(vector, direction=vector.direction[:3]),
        replace(vector, bias=0.25),
        replace(vector, unit=1.0),
        replace(vector, site=replace(SITE, layer=2)),
        *(artifact for kind, artifact in examples().items() if kind != "vector"),
    ]
    assert len({variant.content_digest for variant in variants}) == len(variants)


def test_no_bit_of_a_file_changes_unnoticed(tmp_path: Path) -> None:
    vector = Vector(ORIGIN, SITE, normal(4), 0.5, 2.0)
    path = vector.save(tmp_path / "a.safetensors")
    whole = path.read_bytes()
    for at in range(0, 8 * len(whole), 3):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        try:
            assert Vector.load(path).digest == vector.digest  # where the bit was one of padding
        except ArtifactError as error:
            assert str(path) in str(error)  # noqa: PT017 (either is right)


def test_tensors_with_an_axis_in_common_have_one_length_of_it() -> None:
    header = {"format": 1}
    contents = Contents(
        {"mean": normal(4).double(), "left": normal(4, 2).double(), "right": normal(3, 4).double()}, header
    )
    with pytest.raises(
        ArtifactError, match=r"the tensor right is torch.float64 \[3, 4\], expected .* axes as long as in"
    ):
        contents.arrays(Eraser)
    whole = {**contents.tensors, "right": normal(2, 4).double()}
    assert Contents(whole, header).arrays(Eraser).keys() == {"mean", "left", "right"}


def test_a_file_is_read_without_jax(tmp_path: Path) -> None:
    """Which jaxtyping imports to compare axes, where it is installed: a second for nothing."""
    path = Vector(ORIGIN, SITE, normal(4), 0.5, 2.0).save(tmp_path / "a.safetensors")
    code = f"import sys, workbench as wb; wb.Vector.load({str(path)!r}); sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_digests_are_found_once() -> None:
    counted = []

    class Counted(Prompt):
        def tensors(self) -> dict[str, torch.Tensor]:
            counted.append(self)
            return {}

    artifact = Counted(ORIGIN, "words")
    digests = {(artifact.digest, artifact.content_digest) for _ in range(3)}
    assert len(digests) == 1
    assert len(counted) == 2


BIG = normal(2, 4, 32)
SHARED: dict[str, Callable[[], Artifact]] = {
    "views": lambda: lora((BIG[0], BIG[1])),
    "one tensor under two names": lambda: lora((BIG[0], BIG[0])),
    "two layers of one pair": lambda: lora((BIG[0], BIG[1]), (BIG[0], BIG[1])),
    "overlapping views": lambda: lora((BIG[0, :3], BIG[0, 1:])),
    "transposed": lambda: lora((BIG[0], BIG[0].T.contiguous().T)),
    "row of a matrix": lambda: Vector(ORIGIN, SITE, BIG[0, 1]),
    "every second number": lambda: Vector(ORIGIN, SITE, BIG[0, 1, ::2]),
    "expanded": lambda: Vector(ORIGIN, SITE, torch.ones(1).expand(32)),
}


def lora(*pairs: tuple[torch.Tensor, torch.Tensor]) -> Adapter:
    return Adapter(ORIGIN, tuple(AdapterPart("low_rank_map", SITE, {"down": down, "up": up}) for down, up in pairs))


@pytest.mark.parametrize("name", SHARED)
def test_tensors_that_share_memory_are_saved(name: str, tmp_path: Path) -> None:
    artifact = SHARED[name]()
    loaded = Artifact.load(artifact.save(tmp_path / "shared.safetensors"))
    assert (loaded.digest, loaded.content_digest) == (artifact.digest, artifact.content_digest)
    for key, tensor in artifact.tensors().items():
        assert torch.equal(loaded.tensors()[key], tensor)


def test_what_is_about_no_concept_is_called_by_its_method(tmp_path: Path) -> None:
    vector = Vector(replace(ORIGIN, concept=None), SITE, normal(4))
    loaded = Vector.load(vector.save(tmp_path / "vector.safetensors"))
    assert loaded.origin == vector.origin
    with pytest.raises(ArtifactError, match="the unit of the vector for 'DiffMean' is 0"):
        replace(vector, unit=0.0)
    assert "<td>DiffMean</td>" in vector._repr_html_()


OLD_ORIGIN = Origin("DiffMean", "{}", "sea", "tiny", "0", "1", 3, "0.1.0")
OLD = {
    "vector": (
        Vector(OLD_ORIGIN, SITE, torch.tensor([1.0, -2.0]), 0.5, 2.0),
        "13d793cbf58687f509b941dd09cf95a673c2af36bde27feec22930d31d58f98d",
        b'\x88\x01\x00\x00\x00\x00\x00\x00{"__metadata__":{"workbench":"{\\"bias\\":0.5,\\"format\\":'
        b'\\"representation-workbench/1\\",\\"kind\\":\\"vector\\",\\"origin\\":{\\"code\\":\\"0.1.0\\",\\"concept\\":'
        b'\\"sea\\",\\"data\\":\\"1\\",\\"method\\":\\"DiffMean\\",\\"model\\":\\"tiny\\",\\"model_digest\\":\\"0\\",'
        b'\\"seed\\":3,\\"settings\\":\\"{}\\"},\\"site\\":\\"blocks.1.hook_resid_post\\",\\"unit\\":2.0}"},'
        b'"direction":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}       \x00\x00\x80?\x00\x00\x00\xc0',
    ),
    "lexicon": (
        BagOfWordsWeights(OLD_ORIGIN, ("sea", "land"), torch.tensor([1.0, -1.0], dtype=torch.float64), 0.25),
        "ed46b69798d58fa6cc8e71b7a2fce15b81bfd6b1beaaa2da722eb22abc530fee",
        b'p\x01\x00\x00\x00\x00\x00\x00{"__metadata__":{"workbench":"{\\"bias\\":0.25,\\"format\\":'
        b'\\"representation-workbench/1\\",\\"kind\\":\\"lexicon\\",\\"origin\\":{\\"code\\":\\"0.1.0\\",\\"concept\\":'
        b'\\"sea\\",\\"data\\":\\"1\\",\\"method\\":\\"DiffMean\\",\\"model\\":\\"tiny\\",\\"model_digest\\":\\"0\\",'
        b'\\"seed\\":3,\\"settings\\":\\"{}\\"},\\"words\\":[\\"sea\\",\\"land\\"]}"},'
        b'"weights":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}    '
        b"\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\xf0\xbf",
    ),
    "head": (
        ClassifierHead(
            OLD_ORIGIN,
            SITE,
            torch.tensor([[1.0, 2.0]]),
            torch.tensor([0.5]),
            torch.tensor([[1.0], [-1.0]]),
            torch.tensor([0.0, 1.0]),
            torch.zeros(2),
        ),
        "4376da4aa7e37ee0b5ffb3b13f9c9cf1a693040a36eab9ad28fbdfc9887f6413",
        b'p\x02\x00\x00\x00\x00\x00\x00{"__metadata__":{"workbench":"{\\"format\\":'
        b'\\"representation-workbench/1\\",\\"kind\\":\\"head\\",\\"origin\\":{\\"code\\":\\"0.1.0\\",\\"concept\\":'
        b'\\"sea\\",\\"data\\":\\"1\\",\\"method\\":\\"DiffMean\\",\\"model\\":\\"tiny\\",\\"model_digest\\":\\"0\\",'
        b'\\"seed\\":3,\\"settings\\":\\"{}\\"},\\"site\\":\\"blocks.1.hook_resid_post\\"}"},'
        b'"baseline":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"inner_bias":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},'
        b'"inner_weight":{"dtype":"F32","shape":[1,2],"data_offsets":[12,20]},'
        b'"outer_bias":{"dtype":"F32","shape":[2],"data_offsets":[20,28]},'
        b'"outer_weight":{"dtype":"F32","shape":[2,1],"data_offsets":[28,36]}}     '
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00?\x00\x00\x80?\x00\x00\x00@"
        b"\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x80?\x00\x00\x80\xbf",
    ),
}
"""Files as version 0.1.0 wrote them: the artifact, its digest, its bytes."""


@pytest.mark.parametrize("kind", OLD)
def test_files_of_an_earlier_version_are_read(kind: str, tmp_path: Path) -> None:
    artifact, digest, content = OLD[kind]
    (tmp_path / "old.safetensors").write_bytes(content)
    loaded = Artifact.load(tmp_path / "old.safetensors")
    assert type(loaded) is type(artifact)
    assert loaded.origin == OLD_ORIGIN
    assert loaded.digest == artifact.digest == digest
    assert loaded.to_bytes() == content


def test_the_origin_of_a_file_may_lack_seed_and_code(tmp_path: Path) -> None:
    prompt = Prompt(replace(ORIGIN, seed=0, code=""), "words")
    origin = {name: value for name, value in asdict(prompt.origin).items() if name not in ("seed", "code")}
    bare = Contents({}, {"kind": "prompt", "origin": origin, "text": "words"})
    (tmp_path / "bare.safetensors").write_bytes(bare.to_bytes())
    assert Artifact.load(tmp_path / "bare.safetensors").origin == prompt.origin


def test_a_class_of_ones_own_reads_its_own_files(tmp_path: Path) -> None:
    class Note(Prompt):
        kind = "note"

    path = Note(ORIGIN, "words").save(tmp_path / "note.safetensors")
    assert type(Note.load(path)) is Note
    with pytest.raises(ArtifactError, match=r"note\.safetensors .* unknown kind 'note' \(known are vector, dictionary"):
        Artifact.load(path)
    with pytest.raises(ArtifactError, match=r"as Note: it holds the kind 'vector'; use Vector\.load or Artifact\.load"):
        Note.load(Vector(ORIGIN, SITE, normal(4)).save(tmp_path / "vector.safetensors"))
