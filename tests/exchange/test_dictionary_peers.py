"""What SAELens and dictionary_learning said of our folders and of their own, equal to what is read and written here.

`python -m benchmarks.dictionary_peers --save` asks them.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.dictionary_peers import ORACLES, WRITERS
from workbench.exchange.dictionaries import load_dictionary
from workbench.exchange.dictionary_learning import CLASSES
from workbench.runs.files import read_json

SAID = {name: load_file(ORACLES / name / "said.safetensors") for name in WRITERS}
FOLDERS = [(name, "/".join(key.split(".")[:2])) for name, said in SAID.items() for key in said if key.endswith("codes")]


@pytest.mark.parametrize(("name", "folder"), FOLDERS)
def test_their_codes_and_reconstructions_are_ours(name: str, folder: str) -> None:
    found, said, key = load_dictionary(ORACLES / name / folder), SAID[name], folder.replace("/", ".")
    assert (said[f"{key}.codes"] > 0).any()
    torch.testing.assert_close(found.encode(said["x"]), said[f"{key}.codes"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.reconstruct(said["x"]), said[f"{key}.output"], atol=1e-5, rtol=1e-5)


def test_all_classes_of_dictionary_learning_are_among_them() -> None:
    assert {Path(folder).name for _, folder in FOLDERS if folder.startswith("theirs")} == {*CLASSES}


@pytest.mark.parametrize(("name", "folder"), [one for one in FOLDERS if one[1].startswith("ours")])
def test_what_they_read_is_what_is_written_today(name: str, folder: str, tmp_path: Path) -> None:
    theirs, again = ORACLES / name / folder, WRITERS[name](load_dictionary(ORACLES / name / folder), tmp_path / "again")
    assert sorted(path.name for path in theirs.iterdir()) == sorted(path.name for path in again.iterdir())
    for path in theirs.glob("*.json"):
        assert read_json(path) == read_json(again / path.name)
    one, other = load_dictionary(theirs), load_dictionary(again)
    assert (other.site, other.target, other.k) == (one.site, one.target, one.k)
    for key, array in one.tensors().items():
        torch.testing.assert_close(other.tensors()[key], array, atol=1e-5, rtol=1e-5)
