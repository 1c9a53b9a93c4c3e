"""The experiment: whole on a tiny model, killed and continued, and its parts on planted data."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.sae import Config, run
from experiments.sae.browsing import write_page
from experiments.sae.exchanging import EXAMPLES, PROMPTS, ExchangedFacts, country_facts
from experiments.sae.fitting import FittedDictionary, dictionary_config
from experiments.sae.material import StateSource, split_passages
from experiments.sae.measure import SKEWED, ratio_intervals
from experiments.sae.probing import best_features, probe
from experiments.sae.removing import SpuriousRemoval, combined
from experiments.sae.spelling import FirstLetters, spelled_words
from experiments.sae.verdict import against
from probes.sae.browser import LatentSet
from probes.sae.browser.describe import Ask
from probes.sae.browser.page import BrowserOptions
from steering.methods.sae import SAE
from tests.artifacts.examples import ORIGIN, normal
from tests.evaluation.judges.chat_server import completion, failure, serving
from tests.tiny import tiny_folder
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, Target
from workbench.data.running_text import as_passages
from workbench.data.states import States
from workbench.evaluation.intervals import Interval
from workbench.evaluation.judges.base import JudgeError
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.report.document import Document
from workbench.report.latent_browser import LatentBrowser, LatentCard
from workbench.runs.run import Run

TEXT = "".join(
    f"This is line {number} of a book about {'the sea' if number % 3 else 'zebras'}.\n" for number in range(1800)
)
SMALL: dict[str, Any] = dict(
    layer=1, passages=60, held_out=8, latents=48, k=(4, 8), activations=20480, batch=512, probed=2, browsed=2,
    seeds=(0, 1), random_model=True, dtype="float32", learning_rate=1e-2, spelled=10,
)  # fmt: skip


def learn_words(folder: Path) -> None:
    """Make the tokenizer in a folder know ten words with each of two first letters."""
    path = folder / "tokenizer.json"
    inner = json.loads(path.read_text())
    for letter in "aq":
        merges = [("Ġ", letter), (f"Ġ{letter}", "b"), *((f"Ġ{letter}b", last) for last in "abcdefghij")]
        for left, right in merges:
            inner["model"]["vocab"][left + right] = len(inner["model"]["vocab"])
            inner["model"]["merges"].append([left, right])
    path.write_text(json.dumps(inner))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "book.txt").write_text(TEXT)
    folder = tiny_folder(tmp_path)
    learn_words(folder)
    return Config(model=str(folder), text=str(tmp_path / "book.txt"), **SMALL)


def test_everything_is_measured_and_a_second_call_does_nothing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(config, tmp_path)
    rows = {(row.method, row.metric): row for row in Run.load(folder).rows()}
    for k in (4, 8):
        ours, random = (rows[f"{name}, k {k}", "explained_variance"] for name in ("topk", "random"))
        assert (ours.low or 0) <= (ours.value or 0) <= (ours.high or 0)
        assert (ours.n, random.n) == (8, 8)
        assert (ours.value or 0) > (random.value or 0)
        assert rows[f"topk, k {k}", "l0"].value == pytest.approx(k, abs=1)
        assert rows[f"pca, k {k}", "l0"].value == pytest.approx(rows[f"topk, k {k}", "l0"].value, abs=1)
        assert rows[f"topk, k {k}", "loss_recovered"].value is not None
    assert ("random weights, topk, k 4", "explained_variance") in rows
    assert ("random weights, topk, k 4", "loss_recovered") not in rows
    assert ("random weights, topk, k 8", "l0") not in rows  # one for comparison is enough
    again, chance = (rows[f"topk, k 4 and {name}", "agreement.cosine"].value or 0
                     for name in ("topk, k 4, seed 1", "random, k 4"))  # fmt: skip
    assert again > chance
    for name in ("topk, k 4", "random, k 4", "coordinates of the state"):
        for count in (1, 2, 5):
            assert rows[name, f"probing.{count}"].n == 2
        if name != "coordinates of the state":
            own, others, apart = (rows[name, f"perturbation.{what}.10"] for what in ("own", "others", "targeted"))
            assert apart.value == pytest.approx((own.value or 0) - (others.value or 0), abs=1e-9)
            before, oracle = (rows[name, f"removal.auroc.{what}"].value or 0 for what in ("before", "oracle"))
            assert 0.3 < min(before, oracle) <= 1  # a random model tells nothing
            assert rows[name, "removal.accuracy.after.50"].n == 2
        if name != "coordinates of the state":
            told, missed, absorbed = (rows[name, f"spelling.{what}"] for what in ("probe_f1", "missed", "absorbed"))
            assert told.n == 2
            assert (missed.value or 0) >= (absorbed.value or 0)
    assert (rows["random, k 4", "exchange.known"].value, rows["random, k 4", "exchange.known"].n) == (0.0, 53)
    assert rows["the whole state", "probing.all"].value is not None
    found = Document.load(folder)
    assert found.verdict.startswith("On held-out text the dictionary, with ")
    names = {getattr(block, "name", "") for section in found.sections for block in section.blocks}
    assert {"quality", "pareto-loss-recovered", "density", "curve", "probing", "perturbation", "agreement",
            "removal-auroc", "removal-accuracy", "spelling"} <= names  # fmt: skip
    page = (folder / "latents.html").read_text()
    assert page.count('"') > 1000
    path = folder / "artifacts" / "topk-k-4.safetensors"
    method = SAE(str(path), select="description", descriptions=str(folder / "latents.json"))
    assert set() != {*method._descriptions[0]} <= {*range(48)}
    kept = SparseAutoencoder.load(path)
    assert (kept.n_latents, kept.k, kept.site.layer) == (48, 4, 1)
    monkeypatch.setattr("experiments.sae.fitting.train_dictionaries", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("experiments.sae.browsing.browse", lambda *_: pytest.fail("browsed again"))
    before = {path: path.read_bytes() for path in folder.glob("*.*ml")}
    assert run(config, tmp_path) == folder
    assert {path: path.read_bytes() for path in folder.glob("latents.html")} == {
        path: data for path, data in before.items() if path.name == "latents.html"
    }


def test_words_are_single_tokens_of_enough_letters(config: Config) -> None:
    model = load(config.model)
    words = spelled_words(model, 10)
    assert words is not None
    assert words.letters == ("a", "q")
    assert set(words.words) == {f"{letter}b{last}" for letter in "aq" for last in "abcdefghij"}
    assert words.label == [0] * 10 + [1] * 10
    assert words.judged == ([False] * 7 + [True] * 3) * 2
    assert spelled_words(model, 0) is None
    with pytest.raises(DataError, match="11 words of one token for 0 first letters; two are needed: lower `spelled`"):
        spelled_words(model, 11)


def test_facts_are_asked_about_countries_that_are_not_shown() -> None:
    facts = country_facts()
    assert {one.name for one in facts} == set(PROMPTS)
    for one in facts:
        assert one.before.count("\n") == len(EXAMPLES)
        assert not set(EXAMPLES) & set(one.answers)
    assert facts[0].answers["France"] == " Paris"
    assert facts[0].before.endswith("The capital of Peru is Lima.\nThe capital of ")


def test_cause_and_isolation_are_means_over_facts_and_pairs() -> None:
    found = ExchangedFacts("one", 9, 6, {5: [[1.0, 0.0], [1.0, 0.0]]}, {5: [[1.0, 1.0], [0.0, 1.0]]})
    assert found.interval("cause", 5).value == 0.5
    assert found.interval("isolation", 5).value == 0.75
    assert found.interval("disentangled", 5).value == 0.625
    assert found.interval("cause", 5).n == 2


def test_rates_of_absorption_are_means_over_letters_that_the_probe_tells() -> None:
    about = {"main": 2, "f1": 0.5, "probe_f1": 0.75}
    found = FirstLetters("one", ["a", "b", "c", "d"], [
        about | {"told": 10, "missed": 4, "absorbed": 1},
        about | {"told": 2, "missed": 2, "absorbed": 1},
        about | {"told": 0, "missed": 0, "absorbed": 0},  # nothing that could be absorbed
        about | {"told": 5, "missed": 0, "absorbed": 0, "main": 0},  # nothing that it could be absorbed from
    ])  # fmt: skip
    assert found.interval("missed").value == pytest.approx((0.4 + 1.0) / 2)
    assert found.interval("absorbed").value == pytest.approx((0.1 + 0.5) / 2)
    assert (found.interval("absorbed").n, found.interval("absorbed").missing) == (2, 2)
    assert found.interval("main").value == 1.5


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka_batchtopk", "standard", "jumprelu", "gated"])
def test_every_architecture_can_be_asked_for(name: Any, config: Config) -> None:
    other = replace(config, architecture=name, latents=64, sparsity=(0.5, 2.0))
    source: Any = StateSource(Any, other, load(other.model), *split_passages(other))  # pyright: ignore[reportArgumentType]
    made = [dictionary_config(other, source, level, 0) for level in other.levels]
    assert [one.architecture for one in made] == [name] * 2
    assert made[0] != made[1]


KILLED = """
import sys
import torch
from experiments.sae import Config, run
torch.set_num_threads(int(sys.argv[3]))  # as here: with others, sums are rounded in another order
import probes.sae.training as training
write, settings = training.write_checkpoint, __import__("json").loads(sys.argv[1])
def killed(path, key, progress):
    write(path, key, progress)
    __import__("os")._exit(9)  # at the first checkpoint
training.write_checkpoint = killed
from pathlib import Path
run(Config(**settings), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_run_that_is_killed_in_its_training_ends_as_one_that_is_not(config: Config, tmp_path: Path) -> None:
    settings = vars(replace(config, k=(4,), seeds=(0,), random_model=False))
    killed = [
        sys.executable,
        "-c",
        KILLED,
        json.dumps(settings),
        str(tmp_path / "killed"),
        str(torch.get_num_threads()),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(killed, check=False, env=environment).returncode == 9
    (left,) = (tmp_path / "killed").iterdir()
    assert list((left / "training").glob("*.safetensors"))
    assert not (left / "report.html").exists()
    calm = Config(**settings)
    one, other = run(calm, tmp_path / "killed"), run(calm, tmp_path / "whole")
    assert one == left
    for name in ("latents.html", "results.json", "artifacts/topk-k-4.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_held_out_passages_are_of_other_groups(config: Config) -> None:
    train, held_out = split_passages(config)
    assert (len(train), len(held_out)) == (60, 8)
    assert not set(train.group.tolist()) & set(held_out.group.tolist())


def test_what_is_not_there_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no block 7"):
        run(replace(config, layer=7), tmp_path)
    (tmp_path / "short.txt").write_text("one line\n")
    with pytest.raises(DataError, match="nothing is left to hold out"):
        split_passages(replace(config, text=str(tmp_path / "short.txt")))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(k=(64,)), "k is 64, more than the 48 latents"),
        (dict(architecture="dense"), "architecture is 'dense'"),
        (dict(k=()), "k is"),
        (dict(spelled=3), "spelled is 3; expected numbers of 10 or more, or 0"),
    ],
)
def test_wrong_settings_are_refused(config: Config, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **wrong)


def test_intervals_are_ratios_of_sums_over_passages() -> None:
    sums = {
        "n_states": np.array([1.0, 3.0]),
        "active": np.array([4.0, 4.0]),
        "residual": np.array([1.0, 2.0]),
        "spread": np.array([2.0, 10.0]),
    }
    found = ratio_intervals(sums)
    assert set(found) == {"l0", "explained_variance"}
    l0, explained = found["l0"], found["explained_variance"]
    assert isinstance(l0, Interval)
    assert isinstance(explained, Interval)
    assert (l0.value, explained.value) == (2, 0.75)  # not the means over passages, 2.67 and 0.65


def test_a_ratio_that_a_few_passages_decide_says_so() -> None:
    even, one = np.linspace(1, 2, 20), np.r_[np.linspace(1, 2, 19), 40.0]
    sums = {"n_states": np.ones(20), "active": even, "residual": one, "spread": np.full(20, 50.0)}
    notes = {name: found.note for name, found in ratio_intervals(sums).items() if isinstance(found, Interval)}
    assert notes == {"l0": "", "explained_variance": SKEWED}


def planted_concepts(n: int = 400) -> tuple[Dataset, torch.Tensor]:
    """Two targets of which feature 3 tells the first, and 5 and 6 together the second; others are noise."""
    label = np.random.default_rng(0).integers(0, 2, size=(n, 2)).astype(np.int8)
    x = normal(n, 20)
    x[:, 3] += torch.from_numpy(6.0 * label[:, 0]).float()
    x[:, 5] += torch.from_numpy(1.5 * label[:, 1]).float()
    x[:, 6] -= torch.from_numpy(1.2 * label[:, 1]).float()
    items = [Item.bare(f"text {number}") for number in range(n)]
    split = np.array(["train"] * (n // 2) + ["validation"] * (n // 4) + ["evaluation"] * (n // 4))
    return Dataset.of_labels("planted", items, [Target("one", "one"), Target("two", "two")], label, split), x


def test_the_planted_features_are_chosen_and_tell_the_concept() -> None:
    data, x = planted_concepts()
    fitted = torch.from_numpy(data.split != "evaluation")
    y = torch.from_numpy(data.labels[:, 1].copy()).float()
    assert set(best_features(x[fitted], y[fitted], 2).tolist()) == {5, 6}
    assert probe(x, data, 0, 1) > 0.99
    assert 0.75 < probe(x, data, 1, 1) < probe(x, data, 1, 2) < 0.99
    spoiled = x.clone()
    spoiled[~fitted] = spoiled[~fitted].flip(0)  # states of other texts
    assert abs(probe(spoiled, data, 0, 1) - 0.5) < 0.2
    assert probe(torch.zeros_like(x), data, 0, 2) == 0.5


def test_an_endpoint_that_describes_latents_is_named_whole() -> None:
    with pytest.raises(ValueError, match="go together"):
        Config(describer="http://127.0.0.1:1/v1")
    with pytest.raises(ValueError, match="go together"):
        Config(describer_model="m")
    with pytest.raises(ValueError, match="expected an address"):
        Config(describer="127.0.0.1:1/v1", describer_model="m")


def test_a_describer_without_its_package_ends_a_run_before_anything_is_read(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.evaluation.judges.names.find_spec", lambda _: None)
    monkeypatch.setattr("experiments.sae.stages.load_sources", lambda *_: pytest.fail("something was read"))
    with pytest.raises(JudgeError, match="needs openai"):
        run(replace(config, describer="http://127.0.0.1:1/v1", describer_model="m"), tmp_path)


def test_a_describer_that_fails_is_asked_again_by_the_next_run(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All questions fail, then one in forty, then none; a page stays unfinished as long as one does."""
    prompts = [f"latent {number}" for number in range(40)]
    failing = set(prompts)

    def browse(latents: LatentSet, model: Model, states: States, options: BrowserOptions, ask: Ask) -> LatentBrowser:
        cards = (LatentCard("", phrase or "words", 0.0, 0.0, 0.0) for phrase in ask(prompts))
        return LatentBrowser("", "", (), tuple(cards))

    monkeypatch.setattr("experiments.sae.browsing.browse", browse)
    arrays = (normal(32, 4), torch.zeros(4), normal(4, 32), torch.zeros(32), torch.zeros(4))
    dictionary = SparseAutoencoder(ORIGIN, Site(1), *arrays)
    data = as_passages(["the sea is wide", "a hill"])
    with serving(lambda r: failure(400) if r.prompt in failing else completion(f"of {r.prompt}")) as server:
        settings = Config(describer=server.base_url, describer_model="m", layer=1)
        with Run.open("sae", settings, tmp_path) as opened:
            fit = FittedDictionary(StateSource(opened, settings, llama, data, data), "topk", 4, 0, dictionary)
            with pytest.raises(
                JudgeError, match=r"left 40 of 40 questions .*allowed are 5%.*the same command then asks"
            ):
                write_page(fit)
            assert len(opened.units) == 0
            failing = {"latent 7"}
            for phrase in ("words", "of latent 7", "of latent 7"):
                page = write_page(fit).read_text()
                assert ("of latent 7" in page, "of latent 8" in page) == (phrase != "words", True)
                described = json.loads((opened.folder / "latents.json").read_text())
                assert (described["7"], described["8"], len(described)) == (phrase, "of latent 8", 40)
                failing = set()
        assert [request.prompt for request in server.requests[80:]] == ["latent 7"]


def test_texts_of_a_pair_hold_each_combination_equally_often() -> None:
    label = np.array([[1, 0], [1, -1], [1, 1], [0, 1], [-1, 1], [0, 0], [0, 0], [0, -1], [1, 0]])
    rows, held = combined(label, np.arange(9) < 8)
    cells = {tuple(cell): rows[(held.numpy() == cell).all(1)] for cell in ((0, 0), (0, 1), (1, 0), (1, 1))}
    assert [len(one) for one in cells.values()] == [2] * 4  # two passages with each concept alone
    for cell, some in cells.items():
        for slot, alone in enumerate(({0, 1}, {3, 4})):
            assert set(some[:, slot].tolist()) == (alone if cell[slot] else {5, 6})
    rows, held = combined(label, np.arange(9) < 8, biased=True)
    assert len(rows) == 8
    assert (held[:, 0] == held[:, 1]).all()
    with pytest.raises(DataError, match=r"\[0, 0\] and 2; a pair needs some of each"):
        combined(label, np.isin(np.arange(9), (5, 6)))


def test_the_score_of_removal_is_a_ratio_of_means_over_pairs() -> None:
    """A pair that misses nothing has no ratio of its own, and counts all the same."""
    ordered = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    wanted, spurious = ([*each] for each in zip(*ordered, strict=True))
    before, oracle = [0.5, 0.9, 0.6, 0.9, 0.7, 0.9], [0.9] * 6
    found = SpuriousRemoval("one", "auroc", wanted, spurious, before, oracle, {2: [0.7, 0.8, 0.7, 0.9, 0.8, 0.9]})
    assert found.interval("score", 2).value == pytest.approx((0.2 - 0.1 + 0.1 + 0.1) / (0.4 + 0.3 + 0.2))
    assert found.interval("before").value == pytest.approx(0.75)
    assert found.interval("after", 2).value == pytest.approx(0.8)
    assert found.interval("oracle").n == 3
    none = replace(found, before=oracle)
    assert none.interval("score", 2).value is None


def test_nothing_is_clearly_more_where_an_interval_is_missing() -> None:
    below, above = Interval(0.1, 0.0, 0.2, 9, 0, 0.95), Interval(0.5, 0.4, 0.6, 9, 0, 0.95)
    bare = Interval(0.1, None, None, 2, 0, 0.95)
    assert "not clearly" not in against([above, below, below])
    for found in ([above, bare, below], [Interval(0.5, None, None, 2, 0, 0.95), below, below], [below, above, below]):
        assert against(found).endswith(", which is not clearly more")
