"""The public face: what a new user types, from `import workbench as wb` to a steered answer and a comparison."""

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import experiments
import probes
import steering
import workbench as wb
from experiments import axbench
from tests.forked import errors_of
from tests.tiny import tiny_folder
from workbench.data.items import DataError
from workbench.data.named import dataset, datasets
from workbench.data.tables import read_jsonl

ROOT = Path(__file__).parents[1]
SEA = [
    "The waves broke over the harbour wall all night.",
    "We hauled the nets in before the tide turned.",
    "Salt dried on our faces as the boat ran home.",
    "Gulls followed the trawler out past the lighthouse.",
    "The reef lay blue and silent under the swell.",
    "A storm out at sea kept the fleet in port.",
    "She learned to sail in a bay full of islands.",
    "Seaweed and driftwood lined the beach at dawn.",
    "The captain read the currents like a page.",
    "Far from land, the ocean was the only sound.",
]
COOKING = ["Fry the onions.", "Boil the pasta.", "Whisk two eggs.", "Fold in the flour.", "Bake it until golden."]
LINES = [
    "import workbench as wb; wb.load",
    "import workbench as wb; wb.concepts; wb.fit; wb.fit_all; wb.calibrate; wb.compare; wb.sweep",
    "import workbench as wb; assert wb.__version__",
    "from workbench import load, Model, Site, Vector, Dataset, States",
    "from workbench import Add, Clamp, ProjectOut, Gate, Sampling, Decoder, per_row",
    "from steering import DiffMean; DiffMean()",
    "from steering import PCA, LAT, ReFTr1, LoRA, SFT, TrainingConfig, train",
    "from probes import LinearProbe, MassMean, TargetProbe; LinearProbe()",
    "import workbench; assert 'fit' in dir(workbench) and 'fit' in workbench.__all__",
    "import steering, probes; assert steering.METHODS and probes.METHODS",
    "from workbench import *; load, fit, Site",
]


@pytest.fixture(scope="module")
def errors() -> dict[str, str]:
    return dict(zip(LINES, errors_of(LINES), strict=True))


@pytest.mark.parametrize("line", LINES)
def test_natural_imports_work_in_a_fresh_process(line: str, errors: dict[str, str]) -> None:
    assert errors[line] == ""


def test_what_does_not_work_in_a_fresh_process_is_told() -> None:
    (known, unknown, ended) = errors_of(["import workbench", "from workbench import nonsense", "raise SystemExit(3)"])
    assert known == ""
    assert "cannot import name 'nonsense'" in unknown
    assert "SystemExit: 3" in ended


def test_importing_the_face_imports_nothing_heavy() -> None:
    line = "import sys, workbench, steering, probes; assert not {'torch', 'transformers', 'jax'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", line], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", [wb, steering, probes, experiments])
def test_the_list_of_names_is_typed_resolves_and_is_documented(package: Any) -> None:
    """What a type checker sees, what `__all__` lists and what can be imported are the same."""
    tree = ast.parse(Path(package.__file__).read_text())
    [typing] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name for node in typing.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == {*package.__all__} - {"METHODS", "EXPERIMENTS", "TOOLS"}
    for name in typed - {"__version__"}:
        assert inspect.getdoc(getattr(package, name)), name
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = package.nonsense


@pytest.mark.slow
def test_from_ten_lines_of_text_to_a_steered_answer(capsys: pytest.CaptureFixture[str]) -> None:
    model = wb.load()
    concepts = wb.concepts({"the sea": SEA})
    vector = wb.fit(model, concepts, "diffmean")
    prompt = "How do I plan a birthday party?"
    plain, steered = (model.generate([prompt], edits=edits)[0].text for edits in ((), vector.edit(0.8)))
    words = {"sea", "ocean", "waves", "sailor", "ship", "boat", "beach", "tide"}
    found = [words & {*re.findall("[a-z]+", text.lower())} for text in (plain, steered)]
    assert (len(found[0]) == 0, len(found[1]) > 0) == (True, True), (plain, steered)
    assert "Splits were made by lot" in capsys.readouterr().err


def test_own_texts_get_splits_and_negatives_of_their_own_form() -> None:
    data = wb.concepts({"the sea": SEA, "cooking": [*COOKING, SEA[0]]})
    assert [target.name for target in data.targets] == ["the-sea", "cooking"]
    counts = {split: int((data.split[: len(SEA)] == split).sum()) for split in ("train", "validation", "evaluation")}
    assert counts == {"train": 6, "validation": 2, "evaluation": 2}
    assert data.labels[0].tolist() == [1, 1]  # one text of both
    assert all(item.conversation.is_bare for item in data.items)  # so that the form of a text tells nothing
    for split in data.splits:
        for target in range(2):
            labels = data.labels[data.split == split, target]
            assert {0, 1} <= {*labels.tolist()}
    assert wb.concepts({"the sea": SEA}).digest == wb.concepts({"the sea": SEA}).digest
    assert wb.concepts({"the sea": SEA}, seed=1).digest != wb.concepts({"the sea": SEA}).digest
    mine = wb.concepts({"the sea": SEA}, negatives=COOKING)
    assert {item.response for item in mine.items} == {*SEA, *COOKING}


def test_frames_and_files_of_two_columns_are_taken(tmp_path: Path) -> None:
    rows = [("the sea", text) for text in SEA] + [("", text) for text in COOKING]
    frame = pd.DataFrame(rows, columns=["concept", "text"])
    data = wb.concepts(frame)
    frame.to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"concept": a, "text": b}) + "\n" for a, b in rows))
    assert {item.response for item in data.items} == {*SEA, *COOKING}
    for file in ("mine.csv", "mine.jsonl"):
        assert wb.concepts(tmp_path / file).digest == data.digest
    asked = wb.concepts(pd.DataFrame({"concept": "sea", "instruction": "Tell me.", "text": SEA}))
    assert not any(item.conversation.is_bare for item in asked.items)
    assert wb.concepts().name == "packaged"
    assert wb.concepts(data) is data


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"sea": SEA[:2]}, "concept 'sea' has 2 different texts; give at least 3"),
        ({"sea": "one long string"}, r"concept 'sea' takes a list and got one text; write \['one long string'\]"),
        ("no-such-file.csv", "there is no dataset 'no-such-file.csv'"),
        (pd.DataFrame({"concept": ["a"]}), "expected at least `concept` and `text`"),
        (pd.DataFrame({"concept": ["a"], "text": ["b"], "label": [1]}), "has a column 'label'; with it"),
        (pd.DataFrame({"concept": ["a"], "text": ["b"], "split": ["test"]}), "frame, row 0 has split 'test'; use one"),
        (
            pd.DataFrame({"concept": ["a", "b"], "text": ["c", "C "], "split": ["train", "validation"]}),
            "frame, row 1 has split 'validation', and the same text before it 'train'",
        ),
    ],
)
def test_what_cannot_be_a_concept_set_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wb.concepts(source)


def test_concepts_are_told_apart_without_case_and_white_space_wherever_they_come_from(tmp_path: Path) -> None:
    """Or each would be the other's negative."""
    names = ["The  sea"] * 5 + ["the sea "] * 5
    frame = pd.DataFrame({"concept": names, "text": SEA})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    made = [
        wb.concepts(frame),
        wb.concepts(tmp_path / "mine.csv"),
        wb.concepts({"The  sea": SEA[:5], "the sea ": SEA[5:]}),
        wb.concepts(pa.Table.from_pandas(frame)),
    ]
    for data in made:
        assert [target.description for target in data.targets] == ["The  sea"]
        assert int((data.labels[:, 0] == 1).sum()) == len(SEA)


def test_of_equal_descriptions_the_first_is_found() -> None:
    targets = [wb.Target(name, description) for name, description in (("a", "The sea"), ("b", "the sea"))]
    labels = np.array([[1, 1], [0, 0]], dtype=np.int8)
    data = wb.Dataset.of_labels("hand", [wb.Item.bare("x"), wb.Item.bare("y")], targets, labels, ["train"] * 2)
    assert [data.index(name) for name in ("b", "the sea", "THE SEA")] == [1, 0, 0]


def test_the_splits_of_a_table_without_negatives_stay() -> None:
    splits = ["train"] * 4 + ["validation"] * 3 + ["evaluation"] * 3
    rows = {"concept": ["the sea"] * 10, "text": SEA, "split": splits}
    data = wb.concepts(pd.DataFrame(rows))
    assert data.split[:10].tolist() == splits
    own = {"concept": [""] * 3, "text": COOKING[:3], "split": ["evaluation", "train", "validation"]}
    data = wb.concepts(pd.DataFrame({key: values + own[key] for key, values in rows.items()}))
    assert data.split.tolist() == splits + own["split"]
    assert data.labels[:, 0].tolist() == [1] * 10 + [0] * 3


WHOLE = pd.DataFrame({"concept": ["a"], "category": ["positive"], "response": ["b"], "split": ["train"]})


@pytest.mark.parametrize("source", [None, "packaged", "cities", WHOLE, pa.Table.from_pandas(WHOLE)])
def test_negatives_of_what_has_its_own_are_refused(source: Any) -> None:
    with pytest.raises(DataError, match="has negatives and splits of its own; leave `negatives` out"):
        wb.concepts(source, negatives=COOKING)
    if not isinstance(source, str):  # statements are split by it
        with pytest.raises(DataError, match="has negatives and splits of its own; leave `seed` 1 out"):
            wb.concepts(source, seed=1)


def test_a_written_set_is_read_back_the_same(tmp_path: Path) -> None:
    from workbench.data.saving import write_jsonl

    for number, data in enumerate((wb.concepts().subset(3), wb.concepts({"sea": SEA, "cooking": COOKING}))):
        path = tmp_path / f"{number}.jsonl"
        write_jsonl(data, path)
        again = read_jsonl(path)
        assert [target.description for target in again.targets] == [target.description for target in data.targets]
        for k in range(len(data.targets)):
            rows = {
                (one.items[row].conversation, one.split[row], int(one.labels[row, k]))
                for one in (data, again)
                for row in range(len(one))
                if one.labels[row, k] >= 0
            }
            assert len(rows) == int((data.labels[:, k] >= 0).sum())


def test_fit_takes_a_name_or_a_method_and_says_what_is_wrong(llama: wb.Model) -> None:
    concepts = wb.concepts({"cooking": COOKING, "sea": SEA}, negatives=["Nothing.", "Not a thing.", "No word of it."])
    every = wb.fit_all(llama, concepts, "diffmean")
    assert list(every) == ["cooking", "sea"]
    one = wb.fit(llama, concepts, steering.DiffMean(), target="sea")
    assert one.origin.concept == "sea"
    assert float(one.direction @ every["sea"].direction) > 0.9999
    with pytest.raises(DataError, match="has several targets; give target= one of cooking, sea, or use fit_all"):
        wb.fit(llama, concepts, "diffmean")
    with pytest.raises(ValueError, match=r"there is no method 'difmean' \(did you mean 'diffmean'\?\); the methods"):
        wb.fit(llama, concepts, "difmean", target=0)


LINES_OF_SEA = [f"The sea, wave {number}." for number in range(5)]


def test_a_light_file_is_the_same_to_every_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame({"concept": "the sea", "text": SEA})
    for name in ("mine.csv", "MINE.CSV"):
        frame.to_csv(tmp_path / name, index=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    expected = wb.concepts(frame).digest
    for name in ("~/mine.csv", str(tmp_path / "MINE.CSV")):
        assert wb.concepts(name).digest == dataset(name).digest == datasets([name])[0].digest == expected
        assert axbench.Config(concepts=name).load_concepts().digest == expected
    assert "mine: 1 concept. Splits were made by lot" in capsys.readouterr().err


@pytest.mark.usefixtures("types_unchecked")
def test_natural_objects_are_taken_for_what_they_can_only_be(llama: wb.Model) -> None:
    texts, short = {"the sea": LINES_OF_SEA}, wb.Sampling(4)
    small = wb.concepts(texts, negatives=COOKING)
    assert wb.concepts(texts, negatives=None).targets == small.targets
    vector = wb.fit(llama, small, "diffmean", target="the sea", site=1)
    assert vector.site == wb.Site(1)
    edit = vector.edit()
    written = [
        llama.generate(("hi", "ho"), edits=edits, sampling=short)
        for edits in (edit, vector, [edit], [vector], (one for one in [vector]), wb.per_row([[vector], vector]))
    ]
    assert all(one == written[0] for one in written)
    plain = llama.generate(iter(["hi", "ho"]), edits=None, sampling=short)
    assert (
        plain
        == llama.generate(["hi", "ho"], edits=(), sampling=short)
        == llama.generate(["hi", "ho"], edits=wb.per_row([None, []]), sampling=short)
    )
    assert plain != written[0]
    read = [llama.read(["hi"], site).arrays[wb.Site(1)] for site in (1, [1], np.int64(1), wb.Site(1))]  # type: ignore[arg-type]
    assert all(torch.equal(one, read[0]) for one in read)


@pytest.mark.usefixtures("types_unchecked")
def test_an_edit_reads_its_site_its_positions_and_arrays() -> None:
    for site in (3, "blocks.3.hook_resid_post", np.int64(3)):
        for direction in (np.ones(4), [1, 1, 1, 1], torch.ones(4)):
            add: Any = wb.Add(site=site, direction=direction, positions="prompt[-1]")  # type: ignore[arg-type]
            assert (add.site, add.positions) == (wb.Site(3), wb.Positions("prompt[-1]"))
            assert torch.equal(add.direction, torch.ones(4))


@pytest.mark.usefixtures("types_unchecked")
def test_items_and_targets_are_found_by_masks_and_by_the_names_that_were_given() -> None:
    data = wb.concepts().subset(2)
    mask = data.split == "train"
    assert data.take(mask).digest == data.take(np.flatnonzero(mask)).digest == data.part("train").digest
    own = wb.concepts({"the sea": SEA, "cooking": COOKING})
    assert [own.index(name) for name in ("the-sea", "the sea", " The Sea", np.int64(0))] == [0] * 4  # type: ignore[list-item]


@pytest.mark.usefixtures("types_unchecked")
def test_what_is_of_the_wrong_type_is_refused_by_name(llama: wb.Model) -> None:
    with pytest.raises(ValueError, match=r"DiffMean is a class; give an object, DiffMean\(\)"):
        wb.fit_all(llama, wb.concepts(), steering.DiffMean)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a text of 'sea' is 3; texts are strings"):
        wb.concepts({"sea": [*SEA, 3]})  # type: ignore[list-item]
    with pytest.raises(
        DataError, match="what concepts are made from is 3, of type int; expected a dict from a concept's name"
    ):
        wb.concepts(3)  # type: ignore[arg-type]


def test_the_experiments_run_from_python_and_show_themselves(tmp_path: Path) -> None:
    model, small = str(tiny_folder(tmp_path)), {"root": tmp_path, "preset": "smoke", "layers": (1,)}
    settings: dict[str, Any] = small | {"model": Path(model), "steered": (), "neutral": 1}
    # too few lines for the judge, so that nothing is steered
    result = wb.compare({"the sea": SEA}, ("diffmean", "random", "probe"), **settings)
    assert {"diffmean", "random", "probe"} <= {*result.rows["method"]}
    assert result.page.name == "report.html"
    assert result._repr_html_().startswith("<iframe srcdoc=")
    again = (steering.DiffMean(), "random", "probe")
    assert wb.compare({"the sea": SEA}, again, **settings | {"root": str(tmp_path), "model": model}) == result
    assert wb.Run.load(str(result.folder)).folder == result.folder
    swept = wb.sweep(wb.concepts({"the sea": SEA}), **small, models=(Path(model),), causal_blocks=0)
    assert any(str(concept).endswith("/the-sea") for concept in swept.rows["concept"])
    with pytest.raises(
        ValueError, match=r"there is no setting 'strenghts' \(did you mean 'strengths'\?\); the settings"
    ):
        wb.compare(strenghts=(1.0,))
    with pytest.raises(ValueError, match="there is no preset 'tiny'"):
        wb.sweep(preset="tiny")
