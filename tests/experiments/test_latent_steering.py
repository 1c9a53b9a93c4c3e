"""The experiment on a tiny model: all numbers are there, its parts are right, and what cannot be used is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from experiments.latent_steering import EXPERIMENT, NAME, PRESETS, Config, run
from experiments.latent_steering.capacity import Filled, longest_held
from experiments.latent_steering.config import KINDS
from experiments.latent_steering.sites import bleu
from experiments.latent_steering.space import SHARES, change_sentiment, compare_similarity, rank_correlation
from experiments.latent_steering.study import SentenceStudy
from experiments.latent_steering.texts import Pair, Texts
from tests.tiny import tiny_folder, tiny_module, tiny_tokenizer
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.optimised_vectors import OptimisedVectors
from workbench.data.items import DataError
from workbench.evaluation.intervals import written
from workbench.evaluation.judges.encoder import SentenceEncoder
from workbench.report.document import Document
from workbench.runs.rows import Row, read_rows
from workbench.runs.run import Run


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("latent_steering")
    (folder / "sentences.txt").write_text("a sea\nno boat\n\nof tide\n")
    (folder / "reviews.tsv").write_text(
        "label\tsentence\n" + "".join(f"{k % 2}\t{'good' if k % 2 else 'bad'} {k}\n" for k in range(20))
    )
    (folder / "sts.csv").write_text("".join(f"a\tb\tc\t{k}\t{k / 2}\tcat {k}\tcat {'x' * k}\n" for k in range(1, 6)))
    return replace(
        PRESETS["smoke"],
        model=str(tiny_folder(folder)),
        dtype="float32",
        sites=(*KINDS, "prefix:2"),
        depths=(0.0,),
        source=str(folder / "sentences.txt"),
        reviews=str(folder / "reviews.tsv"),
        sts=str(folder / "sts.csv"),
        steps=2,
        capacity=("block", "first:2"),
        lengths=(2, 4),
    )


@pytest.fixture(scope="module")
def folder(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> tuple[Row, ...]:
    return read_rows(folder / "results.json")


def test_every_site_and_control_has_numbers_over_sentences(rows: tuple[Row, ...]) -> None:
    for method in (*KINDS, "prefix:2", "block no vector", "block random vector"):
        for metric in ("exact", "accuracy", "bleu"):
            found = [row for row in rows if (row.method, row.metric) == (method, metric)]
            assert {row.n for row in found} == {3}
            assert len(found) == 1 + (method == "block")  # at another depth too
    assert {row.strength for row in rows if row.metric == "reached"} == {0.0, 1.0}
    assert {row.method for row in rows if row.metric == "sts.spearman"} == {
        "vector",
        "mean state",
        "last state",
        "encoder",
    }
    assert {row.method for row in rows if row.metric == "information_gain.4"} == {
        f"{site} {kind}" for site in ("block", "first:2") for kind in ("natural text", "random words")
    }
    assert all(row.experiment == NAME for row in rows)


def test_the_report_has_a_verdict_tables_and_figures(folder: Path) -> None:
    document = Document.load(folder)
    names = {getattr(block, "name", "") for section in document.sections for block in section.blocks}
    assert {"sites", "depths", "mixtures", "sentiment", "similarity", "longest", "token-gain", "capacity"} <= names
    assert document.sections[0].title == "Verdict"
    (exact,) = [
        row
        for row in read_rows(folder / "results.json")
        if (row.method, row.metric, row.layer) == ("block", "exact", 1)
    ]
    assert (
        f"exactly: block, blocks.1.hook_resid_post {written(exact.value, exact.low, exact.high)};" in document.verdict
    )
    assert "Random vector at blocks." in (folder / "report.html").read_text()


def test_vectors_are_saved_with_their_texts(folder: Path) -> None:
    vectors = Artifact.load(folder / "artifacts" / "sentences-block.safetensors")
    assert isinstance(vectors, OptimisedVectors)
    assert vectors.texts == ("a sea", "no boat", "of tide")


def test_a_finished_run_measures_nothing_again(folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "results.json").read_bytes()
    for name in ("study.fit_texts", "sites._measured", "space._mixed", "space._changed", "capacity._filled"):
        monkeypatch.setattr(f"experiments.latent_steering.{name}", lambda *_: pytest.fail("measured again"))
    assert run(config, folder.parent) == folder
    assert (folder / "results.json").read_bytes() == before


def test_packaged_texts_are_enough_for_every_preset_and_no_review_counts_twice() -> None:
    for preset in PRESETS.values():
        texts = Texts.of(preset)
        assert len(set(texts.sentences)) == preset.sentences
        assert len({*texts.positive, *texts.negative}) == 2 * (preset.exemplars + preset.transfers)
        assert len(set(texts.pairs)) == preset.pairs
        grades = [pair.similarity for pair in texts.pairs]
        assert grades == sorted(grades)
        assert (grades[0], grades[-1]) == (0.0, 5.0)


def test_texts_that_are_too_short_for_a_length_are_named_before_anything_is_fitted(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.latent_steering.stages.decode_sites", lambda _: pytest.fail("fitted"))
    monkeypatch.setattr("experiments.latent_steering.texts.Texts.of", lambda config, of=Texts.of: _short(of(config)))
    with pytest.raises(DataError, match=r"natural text 0 has \d+ tokens, fewer than the 99"):
        EXPERIMENT.run(replace(config, lengths=(2, 99)), tmp_path)


def _short(texts: Texts) -> Texts:
    return replace(texts, passages=("A short one.",) * len(texts.passages))


def test_pairs_of_a_file_are_read(config: Config) -> None:
    assert Texts.of(replace(config, pairs=5)).pairs[0] == Pair(0.5, "cat 1", "cat x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences": 4}, r"4 sentences of .* are needed, there are 3"),
        ({"exemplars": 30}, "32|31 positive reviews"),
        ({"repeats": 5}, "5 passages of natural text are needed, there are 4"),
        ({"pairs": 6}, r"6 pairs of .* are needed, there are 5"),
        ({"lengths": (2, 9999)}, r"lengths are up to 9999 tokens, and a passage of natural text has \d+ bytes"),
    ],
)
def test_too_few_texts_are_counted(config: Config, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Texts.of(replace(config, **changes))


def test_one_sentence_is_refused(config: Config) -> None:
    with pytest.raises(ValueError, match="sentences is 1; expected numbers at least 2"):
        replace(config, sentences=1)


@pytest.mark.parametrize("row", ["a\tb\tc\td\tfour\tx\ty", "a\tb\tc\td\tnan\tx\ty", "a\tb\tc\td\t4\tx\t ", "a\tb"])
def test_a_file_that_is_not_of_pairs_is_named(config: Config, row: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"{row}\n")
    with pytest.raises(DataError, match=r"pairs.csv, line 1: expected a score in column 5"):
        Texts.of(replace(config, sts=str(tmp_path / "pairs.csv")))


@pytest.mark.parametrize("name", ["blocks", "first:0", "first:x", "block:2"])
def test_a_site_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"site '{name}'"):
        Config(sites=(name,))


def test_bleu_of_equal_texts_is_100_and_of_others_less() -> None:
    single, whole = bleu(["the cat sat on the mat", "a dog"], ["the cat sat on the mat", "a dog ran away"])
    assert single[0] == 100.0
    assert 0 < single[1] < 100
    assert whole < 100


def test_rank_correlation_is_scipys_also_of_a_draw() -> None:
    a, b = np.array([1.0, 2, 3, 4, 4]), np.array([2.0, 1, 3, 5, 4])
    statistic = rank_correlation(a, b)
    drawn = np.array([0, 1, 1, 3])
    counts = np.array([np.ones(5), np.bincount(drawn, minlength=5), [5, 0, 0, 0, 0]])
    found = statistic(counts)
    assert found[:2] == pytest.approx([spearmanr(a, b)[0], spearmanr(a[drawn], b[drawn])[0]])
    assert np.isnan(found[2])


def test_gains_and_the_longest_text_that_is_held() -> None:
    def filled(n_tokens: int, accuracy: float, number: int = 0) -> Filled:
        return Filled("block", 1, "natural text", number, n_tokens, accuracy, 0.25, 3.0, 10.0, accuracy == 1)

    assert filled(8, 1.0).token_gain == 6
    assert filled(8, 1.0).information_gain == 7
    texts = [filled(8, 1.0), filled(16, 1.0), filled(16, 0.96, 1), filled(32, 0.5)]
    assert longest_held(texts, "block", "natural text") == 8  # 0.98 on average at 16
    assert longest_held(texts, "block", "random words") == 0


def test_a_length_is_held_from_99_of_100_tokens_on_in_float32_too() -> None:
    right = [25, 25, 25, 24]  # tokens of four texts
    shares = [float(np.float32(count) / np.float32(25)) for count in right]
    texts = [Filled("block", 1, "natural text", k, 25, share, 0.0, 1.0, 2.0, True) for k, share in enumerate(shares)]
    assert np.mean(shares) < 0.99  # 0.96 is a little less in float32
    assert longest_held(texts, "block", "natural text") == 25
    assert longest_held([*texts, replace(texts[3], number=4)], "block", "natural text") == 0


def test_vectors_that_are_compared_or_averaged_have_one_start(config: Config, tmp_path: Path) -> None:
    """The first vectors of a start are the same numbers for every text: taken as they are, all of them are parallel."""
    restless, encoder = replace(config, steps=1, restarts=3), SentenceEncoder.load()
    with Run.open(NAME, restless, tmp_path) as opened:
        study = SentenceStudy.of(restless, opened)
        assert compare_similarity(study, encoder).cosines["vector"] == pytest.approx([1.0] * config.pairs)
        change_sentiment(study, encoder)
        reviews = Artifact.load(opened.artifacts / "reviews.safetensors")
        again = study.fitted("again", study.place("block"), tuple(map(str, range(12))))
    assert isinstance(reviews, OptimisedVectors)
    assert cosines(reviews.vectors[:, 0].numpy()).min() == pytest.approx(1)
    assert cosines(again.vectors[:, 0].numpy()).min() < 0.5  # what only has to write its text may start again


def cosines(vectors: np.ndarray) -> np.ndarray:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units @ units.T


def test_what_writes_nothing_has_no_loss_and_reaches_no_sentiment(config: Config, tmp_path: Path) -> None:
    """A loss of 0 would make mixtures the most fluent texts of all. No token is likelier than the first, their end."""
    module: Any = tiny_module("llama")
    with torch.no_grad():
        module.lm_head.weight.zero_()
    module.config.eos_token_id = module.generation_config.eos_token_id = 0
    module.save_pretrained(tmp_path / "silent")
    tiny_tokenizer().save_pretrained(tmp_path / "silent")
    silent = replace(config, model=str(tmp_path / "silent"), sites=("block",), depths=(), capacity=(), lengths=(2,))
    folder = run(silent, tmp_path / "runs")
    mixtures = [row for row in read_rows(folder / "results.json") if (row.method, row.metric) == ("mixture", "nll")]
    assert [(row.strength, row.value, row.n) for row in mixtures] == [(at, None, 0) for at in SHARES]
    reached = [row.value for row in read_rows(folder / "results.json") if row.metric == "reached"]
    assert reached
    assert not any(reached)
