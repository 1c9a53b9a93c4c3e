"""The erasure experiment: its readers on planted states, word lists, and the smoke preset from command to report."""

import hashlib
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.erasure import EXPERIMENT, Config, run
from experiments.erasure.concepts import KINDS, controls
from experiments.erasure.config import METHODS
from experiments.erasure.methods import fit_compared, text_means
from experiments.erasure.readers import Parts, SplitStates, accuracy, clusters, edit_share, fresh, linear, network
from experiments.erasure.words import METHODS as BY_WORDS
from experiments.erasure.words import Leaning, chosen_vectors, source, without_common
from steering.erasure.debias import WordVectors
from steering.erasure.projection import MeanProjection
from tests.planted import concept_set
from workbench.artifacts.eraser import ConceptEraser, Eraser
from workbench.runs.rows import Row, read_rows

D = 16


def part(n: int, seed: int, shift: float = 8.0) -> SplitStates:
    """One positive in four, shifted along the first axis."""
    y = torch.arange(n) % 4 == 0
    x = torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return SplitStates(x + shift * y[:, None] * torch.eye(D, dtype=torch.float64)[0], y)


def parts(shift: float = 8.0) -> Parts:
    return Parts(part(400, 0, shift), part(200, 1, shift), part(400, 2, shift))


def ring(n: int, seed: int) -> SplitStates:
    """Positives lie around the negatives: no line tells them apart, a network does."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4 == 0
    angle = torch.rand(n, dtype=torch.float64, generator=draw) * 2 * torch.pi
    circle = 5.0 * y[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return SplitStates(circle + 0.5 * torch.randn(n, 2, dtype=torch.float64, generator=draw), y)


def test_all_readers_find_what_is_there() -> None:
    whole = parts()
    assert accuracy(linear(whole), whole.test.y) > 0.98
    assert accuracy(network(whole), whole.test.y) > 0.98
    assert fresh(whole.test) > 0.98
    plain = Parts(*(SplitStates(p.x[:, :2], p.y) for p in (whole.train, whole.held, whole.test)))
    assert clusters(plain) > 0.9


def test_a_constant_but_for_rounding_says_nothing() -> None:
    """Classes of equal means, stored in float32 as erasers are: the signs of 1e-8 are not read as answers."""
    nothing = parts(shift=0.0)
    x, y = nothing.train.x, nothing.train.y
    x = x - torch.where(y[:, None], x[y].mean(0), x[~y].mean(0))
    assert accuracy(linear(replace(nothing, train=SplitStates(x, y))), nothing.test.y) == 0.5
    noisy = x + 1e-8 * y[:, None] * torch.linspace(-1, 1, D, dtype=torch.float64)
    assert accuracy(linear(replace(nothing, train=SplitStates(noisy, y))), nothing.test.y) == 0.5


def test_no_reader_finds_what_is_not_there() -> None:
    nothing = parts(shift=0.0)
    for found in (accuracy(linear(nothing), nothing.test.y), accuracy(network(nothing), nothing.test.y)):
        assert found == pytest.approx(0.5, abs=0.08)
    assert fresh(nothing.test) == pytest.approx(0.5, abs=0.1)
    assert clusters(nothing) == pytest.approx(0.0, abs=0.05)


def test_after_erasing_the_linear_probe_is_constant_and_the_change_is_the_concept_s_share() -> None:
    whole = parts()
    eraser = MeanProjection().erase(whole.train.x, whole.train.y)
    erased = whole.erased(eraser)
    assert accuracy(linear(erased), erased.test.y) == 0.5
    assert fresh(erased.test) < 0.65
    along = 64 * 3 / 16 + 1  # variance between the classes and within, along the axis
    assert edit_share(whole.test, eraser) == pytest.approx(along / (along + D - 1), abs=0.05)


def test_a_network_reads_what_no_line_can() -> None:
    whole = Parts(ring(400, 0), ring(100, 1), ring(400, 2))
    assert accuracy(network(whole), whole.test.y) > 0.95
    assert accuracy(linear(whole), whole.test.y) < 0.7


def test_accuracy_counts_both_classes_the_same() -> None:
    y = torch.tensor([True, False, False, False])
    assert accuracy(torch.zeros(4, dtype=torch.bool), y) == 0.5
    assert accuracy(torch.tensor([True, True, False, False]), y) == pytest.approx((1 + 2 / 3) / 2)


def test_text_means_are_the_means_of_each_text_with_its_label() -> None:
    data = concept_set()["c1"]
    means = text_means(data)
    for state, row, label in zip(means.x, means.row, means.y, strict=True):
        torch.testing.assert_close(state, data.x[data.row == row].mean(0))
        assert bool(label) == bool(data.y[data.row == row][0])
    assert means.held_out is not None
    assert len(means.held_out.x) == 24


@pytest.mark.parametrize("name", METHODS)
def test_every_eraser_makes_the_mean_texts_of_a_concept_equal(name: str) -> None:
    data = concept_set()["c0"]
    found = fit_compared(METHODS[name], data)
    assert isinstance(found, ConceptEraser)
    means = text_means(data)
    after = found.eraser(means.x)
    gap, before = (float((x[means.y].mean(0) - x[~means.y].mean(0)).norm()) for x in (after, means.x))
    assert gap < (0.5 if name == "inlp" else 1e-4) * before


def test_every_concept_has_random_controls_of_its_own() -> None:
    data = concept_set()
    drawn = [controls(data, concept.name, [2, 1, 2], 3) for concept in data.dataset.targets]
    assert [list(one) for one in drawn] == [[(rank, draw) for rank in (1, 2) for draw in range(3)]] * 3
    lines = torch.cat([one[1, draw].right for one in drawn for draw in range(3)])
    cosine = (lines @ lines.T).abs() - torch.eye(9, dtype=torch.float64)
    assert float(cosine.max()) < 0.9
    torch.testing.assert_close(drawn[0][1, 0].mean, data.x.double().mean(0))


def test_the_word_lists_are_whole() -> None:
    lists = json.loads(files("experiments.erasure").joinpath("words.json").read_text())
    words = [word for pair in lists["pairs"] for word in pair]
    assert (len(lists["pairs"]), len(lists["professions"])) == (25, 60)
    assert len(set(words)) == len(words)
    assert len(set(lists["professions"])) == 60
    assert not set(words) & set(lists["professions"])


def leaning() -> tuple[Leaning, torch.Tensor]:
    """Made-up vectors: word k leans by k along an axis, the pairs lie on both sides, and the first axis is loud."""
    axis = torch.eye(D, dtype=torch.float64)[3]
    noise = torch.randn(204, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lean = torch.linspace(-3, 3, 200, dtype=torch.float64)
    lean = torch.cat([lean, torch.tensor([6.0, -6.0, 0.0, 0.1], dtype=torch.float64)])
    noise[:, 0] *= 20
    noise[:, 3] = lean
    noise[:, 4] += 2 * lean.sign()  # another axis that knows the side
    vectors = WordVectors((*(f"w{k:03d}" for k in range(200)), "woman", "man", "nurse", "judge"), noise)
    return Leaning.of(vectors, 40), axis


def test_a_file_is_read_as_far_as_the_vocabulary_goes_and_hashed_as_bytes(tmp_path: Path, llama: Any) -> None:
    path = tmp_path / "vectors.txt"
    data = b"a 1 2\nb 3 4\nbroken\n" + b"c 5 6\n" * 20_000 + b"\xff\xfe 7 8\n"
    path.write_bytes(data)
    config = Config(vectors=str(path), vocabulary=2)
    assert chosen_vectors(config, llama).words == ("a", "b")
    assert source(config, llama) == {"vectors": hashlib.sha256(data).hexdigest()}
    assert source(Config(), llama) == llama.identity


def test_words_that_lean_are_found_and_split_without_overlap() -> None:
    found, axis = leaning()
    assert float(found.direction @ axis) > 0.7
    assert found.professions == ("judge", "nurse")
    assert found.pairs == (("woman", "man"),)
    assert "woman" not in found.words[0]
    assert "man" not in found.words[1]
    assert not set(found.words[0]) & set(found.words[1])
    whole = found.parts(found.vectors)
    assert [len(p.y) for p in (whole.train, whole.held, whole.test)] == [48, 16, 16]
    scores = whole.test.x @ found.direction
    assert float(scores[whole.test.y].min()) > float(scores[~whole.test.y].max())


def test_the_loudest_direction_is_taken_out_first() -> None:
    found, _ = leaning()
    loud = torch.linalg.svd(without_common(found.vectors).matrix, full_matrices=False)
    assert float(found.direction[0].abs()) < 0.1
    x = torch.cat([5.0 + torch.eye(D, dtype=torch.float64) * 3, 5.0 - torch.eye(D, dtype=torch.float64)])
    after = without_common(WordVectors(tuple(f"w{k}" for k in range(2 * D)), x)).matrix
    torch.testing.assert_close(after.mean(0), torch.zeros(D, dtype=torch.float64))
    assert int(torch.linalg.matrix_rank(after)) == D - 1
    assert loud.S[-1] < 1e-9


def test_lipstick_a_second_axis_survives_the_removal_of_the_direction() -> None:
    found, _ = leaning()
    whole = found.parts(found.vectors).erased(Eraser.orthogonal(found.direction[None]))
    assert accuracy(linear(whole), whole.test.y) > 0.8


def test_too_few_words_are_refused() -> None:
    found, _ = leaning()
    with pytest.raises(ValueError, match="204 words, 1 gender pairs and 2 professions; 150 leaning words a side"):
        Leaning.of(found.vectors, 150)


def test_the_command_line_and_its_refusals(tmp_path: Path) -> None:
    command = EXPERIMENT.parse(["--preset", "smoke", "--layer", "0", "--root", str(tmp_path)])
    assert (command.config.layer, command.config.limit, command.root) == (0, 2, tmp_path)
    with pytest.raises(ValueError, match="draws is 0; expected numbers at least 1"):
        Config(draws=0)
    with pytest.raises(ValueError, match="leaning is 5; expected numbers at least 20"):
        Config(leaning=5)


def test_help_imports_no_torch() -> None:
    code = "import sys, experiments.erasure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FLAGS = [
    *("--preset", "smoke", "--layer", "10", "--texts", "1", "--draws", "1", "--methods", "leace", "mean_projection"),
    *("--max-tokens", "8", "--vocabulary", "4000"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run on the default model."""
    root, said = tmp_path_factory.mktemp("runs"), io.StringIO()
    with redirect_stdout(said):
        EXPERIMENT.main(["--root", str(root), *FLAGS])
    page, folder = (Path(line) for line in said.getvalue().strip().splitlines()[-2:])
    assert page == folder / "report.html"
    return folder


def values(folder: Path) -> dict[tuple[str, str, str | None], Row]:
    return {(row.metric, row.method, row.concept): row for row in read_rows(folder / "results.json")}


def test_the_same_command_again_does_nothing_anew(finished: Path) -> None:
    before = (finished / "results.json").read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in finished.glob("units/*/unit.json")}
    assert len(stamps) == 2 * 5 + 1  # before, two erasers, left and lost for each concept; words
    command = EXPERIMENT.parse([*FLAGS, "--root", str(finished.parent)])
    assert run(command.config, command.root) == finished
    assert {path: path.stat().st_mtime_ns for path in finished.glob("units/*/unit.json")} == stamps
    assert (finished / "results.json").read_bytes() == before


def test_a_run_has_every_number(finished: Path) -> None:
    found = values(finished)
    for metric in ("linear", "fresh", "network", "clusters", "others"):
        for method in ("none", "leace", "mean_projection"):
            assert found[metric, method, None].n == 2
    assert {metric for metric, _, concept in found if concept} == set(KINDS)
    for metric in ("linear", "fresh", "network", "others", "words.linear", "words.network"):
        ends = [end for key, row in found.items() if key[0] == metric for end in (row.low, row.high) if end is not None]
        assert 0 <= min(ends) <= max(ends) <= 1
    for kind in ("carriers", "neutral"):
        for metric in ("kl", "loss", "top1", "random.kl"):
            assert found[f"{metric}.{kind}", "leace", None].value is not None
    for method in ("none", *BY_WORDS):
        assert found["words.linear", method, None].value is not None


def test_theorems_hold_on_the_default_model(finished: Path) -> None:
    """A probe on the fitted texts is constant after LEACE; hard debiasing leaves no direct bias; KL is above 0."""
    found = values(finished)
    for concept in ("weather", "cooking"):
        assert found["linear", "leace", concept].value == 0.5
        assert _value(found["linear", "none", concept]) > 0.7
        assert _value(found["kl.carriers", "leace", concept]) > 0
    assert _value(found["words.direct_bias", "hard_debias", None]) < 1e-9
    assert _value(found["words.linear", "none", None]) > 0.9


def _value(row: Row) -> Any:
    return row.value


def test_erasers_and_report_are_in_the_folder(finished: Path) -> None:
    eraser = ConceptEraser.load(finished / "artifacts" / "weather-leace.safetensors")
    assert (eraser.origin.concept, eraser.site.layer, eraser.eraser.rank) == ("weather", 10, 1)
    text = (finished / "report.md").read_text()
    for said in ("Nothing erased", "LEACE", "Hard debias", "What the model loses", "KL beyond random"):
        assert said in text
