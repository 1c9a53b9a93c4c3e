"""The sweep on planted states, and whole on a tiny model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.layer_sweep import Config, run
from experiments.layer_sweep.causal import QUESTIONS, CausalEffect, edits_of, effect, random_like
from experiments.layer_sweep.cells import ColumnLabels, MeasuredProbe, choose_penalty, measure_probes
from experiments.layer_sweep.report import _point
from experiments.layer_sweep.sweep import Place, Sweep, Variant, mean
from experiments.layer_sweep.transfer import centred_states, directions, transfer
from tests.tiny import tiny_folder, tiny_model
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, Label, Target
from workbench.data.named import datasets
from workbench.data.statements import statements
from workbench.evaluation.intervals import Interval
from workbench.models.positions import Layout
from workbench.models.sites import Site
from workbench.runs.run import Run

D = 24
GRID = (1e-3, 1e-2, 1e-1)
SPLITS = np.array(["train"] * 240 + ["validation"] * 60 + ["evaluation"] * 100)


def dataset(labels: np.ndarray, name: str = "planted") -> Dataset:
    """Texts whose last words are unlike, in 100 groups of four."""
    n, columns = labels.shape
    items = [Item.bare(f"text number {at}") for at in range(n)]
    targets = [Target(f"column{k}", f"column {k}") for k in range(columns)]
    return Dataset.of_labels(name, items, targets, labels.astype(np.int8), SPLITS[:n], group=np.arange(n) // 4)


def planted(seed: int, strength: float, columns: int = 2) -> tuple[Dataset, torch.Tensor, torch.Tensor]:
    """Labels, states that carry them along known directions with one large useless coordinate, and the directions."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand((len(SPLITS), columns), generator=generator) < 0.5
    direction = torch.nn.functional.normalize(torch.randn((columns, D), generator=generator), dim=1)
    x = torch.randn((len(SPLITS), D), generator=generator) + strength * (y.float() * 2 - 1) @ direction
    x[:, 0] = 50 + 100 * torch.randn(len(SPLITS), generator=generator)
    direction[:, 0] = 0
    return dataset(y.numpy()), x, direction


def test_a_planted_column_is_found_and_believed_and_noise_is_not() -> None:
    data, x, direction = planted(0, 3.0)
    found = [MeasuredProbe.of(one) for one in measure_probes(data, x, (1e-3, 1e-2, 1e-1), described=True, seed=0)]
    for one in found:
        assert (one.accuracy.value or 0) > 0.95
        assert one.auroc.value == 1
        assert one.auroc.low == pytest.approx(0.025 ** (1 / 12))  # Clopper-Pearson of twelve of twelve
        assert (one.shuffled.low or 0) > 0.2
        assert one.hashed is not None
        assert (one.compression or 0) > 2
        assert one.accuracy.n == 25  # groups, not texts
    weight = choose_penalty(x, ColumnLabels.of(data), (1e-2,)).found.weight
    assert torch.nn.functional.cosine_similarity(weight.T, direction).min() > 0.9
    useless = torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
    noise = [MeasuredProbe.of(one) for one in measure_probes(data, useless, (1e-3, 1e-2), described=True, seed=0)]
    for one in noise:
        assert (one.auroc.low or 1) < 0.5 < (one.auroc.high or 0)
        assert (one.shuffled.low or 1) < 0
        assert (one.compression or 9) < 1.1


def test_columns_come_out_as_if_alone_and_absent_texts_are_never_seen() -> None:
    data, x, _ = planted(1, 1.0)
    labels = data.labels.copy()
    labels[::5, 1] = -1
    data = data.with_labels(labels)
    spoiled = x.clone()
    grid = (1e-3, 1e-1)
    both = choose_penalty(x, ColumnLabels.of(data), grid).found
    alone = choose_penalty(x, ColumnLabels.of(dataset(labels[:, 1:])), grid).found
    assert both.C[1] == alone.C[0]
    torch.testing.assert_close(both.weight[:, 1], alone.weight[:, 0], atol=2e-3, rtol=1e-3)
    spoiled[data.split == "evaluation"] = 1e3  # no choice looks at evaluation texts
    again = choose_penalty(spoiled, ColumnLabels.of(data), grid).found
    assert torch.equal(again.weight, both.weight)


def test_c_and_loss_are_those_of_the_validation_texts() -> None:
    data, x, _ = planted(2, 0.3, columns=1)
    grid = (1e-4, 1e-2, 1e2)
    found = choose_penalty(x, ColumnLabels.of(data), grid).found
    mine = torch.from_numpy(data.rows(0, "validation"))
    losses = []
    for C in grid:
        one = choose_penalty(x, ColumnLabels.of(data), (C,)).found
        logits = x[mine] @ one.weight[:, 0] + one.intercept[0]
        y = torch.tensor(data.labels[:, 0])[mine].float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
        losses.append(float(loss[y > 0].mean() + loss[y == 0].mean()) / 2)
    assert float(found.C[0]) == pytest.approx(grid[int(np.argmin(losses))])
    assert float(found.loss.min()) == pytest.approx(min(losses), rel=1e-3)


def test_probes_carry_over_where_the_direction_is_shared_and_not_elsewhere() -> None:
    first, x, _ = planted(3, 3.0, columns=1)
    other, z, _ = planted(4, 3.0, columns=1)
    x[:, 0], z[:, 0] = 0, 0  # mass-mean probes do not survive a coordinate as loud as that
    shifted = x + 7.0  # the same direction around another mean
    data = [replace(first, name="a"), replace(first, name="b"), replace(other, name="c")]
    states = [x, shifted, z]
    found = transfer(data, lambda at, _: states[at], [0, 0, 0], GRID)
    for matrix in found.values():
        assert matrix["a"]["b"] == matrix["a"]["a"] > 0.9
        assert matrix["a"]["c"] < matrix["a"]["a"] - 0.1
    assert centred_states(first, x)[data[0].split == "train"].mean(0).abs().max() < 1e-4


def test_a_direction_is_as_long_as_the_classes_are_apart_along_it() -> None:
    data, x, _ = planted(5, 2.0, columns=1)
    label, train = torch.from_numpy(data.labels[:, 0] == 1), torch.from_numpy(data.split == "train")
    apart = x[train & label].mean(0) - x[train & ~label].mean(0)
    found = directions(data, x, GRID)
    torch.testing.assert_close(found["mass-mean"], apart, atol=1e-3, rtol=1e-3)
    unit = found["logistic"] / found["logistic"].norm()
    assert float(found["logistic"].norm()) == pytest.approx(abs(float(apart @ unit)), rel=1e-3)


def test_adding_the_direction_of_an_answer_moves_the_answer() -> None:
    model = tiny_model("llama")
    data = statements("cities")
    question = QUESTIONS["true"]
    words = model.tokenize([question.yes, question.no], chat=False)
    yes, no = next(pair for pair in zip(*(row.ids for row in words), strict=False) if pair[0] != pair[1])
    unembedding = model.module.get_output_embeddings().weight
    step = (unembedding[yes] - unembedding[no]).detach() * 5
    last = model.n_layers - 1
    found = effect(model, data, {last: step}, texts=12, shots=2)
    assert (found.added.low or 0) > 0 > (found.removed.high or 0)
    control = effect(model, data, random_like({last: step}, 0), texts=12, shots=2)
    assert (found.added.low or 0) > abs(control.added.value or 0)
    assert not model.module.model.layers[last]._forward_hooks


def test_probes_are_judged_at_the_layer_of_the_dataset_they_come_from() -> None:
    data, x, _ = planted(3, 3.0, columns=1)
    pair = [replace(data, name="a"), replace(data, name="b")]
    asked: list[tuple[int, int]] = []

    def states(at: int, layer: int) -> torch.Tensor:
        asked.append((at, layer))
        return x

    transfer(pair, states, [4, 7], GRID)
    assert set(asked) == {(0, 4), (1, 4), (0, 7), (1, 7)}


def test_the_model_is_asked_about_as_many_texts_of_both_labels_wherever_they_stand() -> None:
    model = tiny_model("llama")
    data = statements("cities")
    order = np.argsort(data.labels[:, 0], kind="stable")[::-1]  # all true statements first
    data = data.take(order)
    step = torch.zeros(model.d_model)
    found = effect(model, data, {0: step}, texts=10, shots=2)
    assert found.added.n == found.removed.n == 5
    # What rows share runs apart, up to the first edited token: with and without edits float32 rounds otherwise.
    assert (found.added.value, found.removed.value) == pytest.approx((0, 0), abs=1e-5)


def test_only_the_end_of_the_text_and_what_follows_is_edited() -> None:
    model = tiny_model("llama")
    question = QUESTIONS["true"]
    prompts = [f"one. This statement is: TRUE\n{text}{question.after}" for text in ("x.", "a longer one.")]
    layouts: list[torch.Tensor] = []
    tokens = model.tokenize(prompts, [question.yes] * 2, chat=False)
    for prompt in prompts:
        (edit,) = edits_of(model, question, prompt, {1: torch.ones(model.d_model)}, 1.0)
        assert not isinstance(edit.positions, tuple)
        layouts.append(edit.positions.mask(Layout.of(tokens, [0, 1])))
    assert torch.equal(*layouts)  # one edit serves all rows
    tail = len(".") + len(question.after) + len(question.yes)  # the tiny tokenizer has a token a letter
    for row, mask in zip(tokens, layouts[0], strict=True):
        touched = mask.nonzero()[:, 0]
        assert touched.tolist() == list(range(len(row.ids) - tail, len(row.ids)))


def test_the_layer_is_chosen_on_validation_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """States in which validation texts favour one layer and evaluation texts another."""
    data, x, _ = planted(6, 2.0, columns=1)
    hidden = x.clone()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    hidden[data.split == "evaluation"] = noise[data.split == "evaluation"]  # layer 0: only validation texts carry it
    spoiled = x.clone()
    spoiled[data.split == "validation"] = noise[data.split == "validation"]  # layer 1: only evaluation texts do
    cells = {0: hidden, 1: spoiled}
    measured = {
        layer: [MeasuredProbe.of(one) for one in measure_probes(data, states, GRID, described=False, seed=0)]
        for layer, states in cells.items()
    }
    assert (measured[1][0].accuracy.value or 0) > 0.9 > 0.7 > (measured[0][0].accuracy.value or 1)
    monkeypatch.setattr(Sweep, "cells", lambda *_: measured)
    with Run.open("layer_sweep", Config(), tmp_path) as opened:
        sweep = Sweep(opened, Config())
        assert sweep.best(Place(Variant("any"), data, "mean")) == 0


def test_another_file_of_the_same_name_is_another_dataset(tmp_path: Path) -> None:
    cities = statements("cities")
    found = [(int(label), item.response) for item, label in zip(cities.items, cities.column(0), strict=True)]

    def written(folder: str, count: int) -> Path:
        (tmp_path / folder).mkdir()
        lines = [f'{label},"{text}"' for label, text in found[:count]]
        (tmp_path / folder / "mine.csv").write_text("\n".join(["label,statement", *lines]), encoding="utf-8-sig")
        return tmp_path / folder / "mine.csv"

    first, second = str(written("a", 40)), str(written("b", 30))
    assert datasets([first])[0].digest != datasets([second])[0].digest
    assert datasets([first])[0].digest == datasets([first])[0].digest != datasets([first], seed=1)[0].digest
    with pytest.raises(DataError, match="two datasets are named 'mine'"):
        datasets([first, second])


def test_a_column_needs_both_labels_in_every_split() -> None:
    data, x, _ = planted(7, 1.0, columns=1)
    with pytest.raises(DataError, match=r"planted/column0 has 0 positive of 0 validation texts"):
        choose_penalty(x, ColumnLabels.of(data.part("train", "evaluation")), GRID)


def test_there_is_no_indirect_effect_on_a_model_that_cannot_tell() -> None:
    def told(low: float) -> CausalEffect:
        some = Interval(0.6, low, 0.9, 10, 0, 0.95)
        return CausalEffect(some, 2.0, Interval(0.5, 0.4, 0.6, 10, 0, 0.95), some)

    assert told(0.55).indirect == 0.25
    assert told(0.45).indirect is None


def test_the_first_token_of_a_text_without_bos_is_left_out(tmp_path: Path, folder: Path) -> None:
    config = Config(models=(str(folder),), data=("cities",), positions=("mean",), dtype="float32")
    with Run.open("layer_sweep", config, tmp_path) as opened:
        sweep = Sweep(opened, config)
        place = Place(Variant(str(folder)), sweep.datasets[0], "mean")
        states = sweep.states(place, [1])[1]
        model = sweep.model(place.variant)
        whole = model.read(model.encode(place.dataset.conversations), Site(1), positions="all")
    own = whole.x(Site(1))[whole.row == 0]
    torch.testing.assert_close(states[0], own[1:].mean(0), atol=1e-4, rtol=1e-4)


def test_random_directions_are_as_long_and_follow_the_seed() -> None:
    steps = {3: torch.full((8,), 2.0), 5: torch.full((8,), 0.1)}
    drawn = random_like(steps, 1)
    for layer, step in steps.items():
        assert float(drawn[layer].norm()) == pytest.approx(float(step.norm()))
    assert all(torch.equal(drawn[layer], random_like(steps, 1)[layer]) for layer in steps)
    assert not torch.equal(drawn[3], random_like(steps, 2)[3])


def test_statements_keep_their_subjects_in_one_split() -> None:
    data = statements("cities")
    for split in np.unique(data.split):
        inside = set(data.group[data.split == split])
        assert not inside & set(data.group[data.split != split])
    assert {data.labels[data.split == split].mean() for split in np.unique(data.split)} == {0.5}


def test_hard_negatives_are_judged_and_never_trained_on() -> None:
    data = datasets(["packaged"], limit=2)[0]
    hard, judged = data.labels == Label.HARD_NEGATIVE, data.split == "evaluation"
    assert hard[judged].any()
    assert (data.plain_labels[hard] == 0).all()
    moved = replace(data, targets=(), columns=(), split=np.full(len(data), "train"))
    trained = replace(moved, targets=data.targets, columns=data.columns)
    assert (trained.plain_labels[hard] == -1).all()
    assert (trained.plain_labels[~hard] == data.labels[~hard]).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The datasets whose cells are computed inside the `with`."""
    import experiments.layer_sweep.sweep as module

    names: list[str] = []

    def watching(data: Dataset, *args: Any, **options: Any) -> list[dict]:
        if len(names) == 3:
            raise KeyboardInterrupt
        names.append(data.name)
        return measure_probes(data, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(module, "measure_probes", watching)
        yield names


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_its_report_says_everything(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(
        models=(str(folder),),
        data=("packaged", "cities", "neg_cities"),
        limit=2,
        layers=(-1, 0, 2),
        positions=("mean",),
        grid=(1e-3, 1e-2),
        random_model=False,
        causal_blocks=1,
        dtype="float32",
    )
    with counted(monkeypatch) as first, pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    assert first == ["packaged"] * 3
    where = run(config, tmp_path)
    rows = Run.load(where).rows()
    cells = {(row.concept, row.layer) for row in rows if row.metric == "auroc"}
    names = {"packaged/weather", "packaged/cooking", "cities/true", "neg_cities/true"}
    assert cells == {(name, layer) for name in names for layer in (-1, 0, 2)}
    assert {row.concept for row in rows if row.metric == "transfer"} == {
        f"{a} -> {b}" for a in ("cities", "neg_cities") for b in ("cities", "neg_cities")
    }
    assert {row.concept for row in rows if row.metric == "causal.added"} == {"cities", "neg_cities"}
    page = (where / "report.html").read_text()
    for said in ("Transfer between datasets", "The causal check", "AUROC by column and layer", "neg_cities"):
        assert said in page
    assert run(config, tmp_path) == where
    assert Run.load(where).rows() == rows


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one or more"):
        Config(data=())
    with pytest.raises(ValueError, match="values of C that rise"):
        Config(grid=(0.1, 0.01))


def test_a_mean_accuracy_stays_below_1() -> None:
    high = _point(0, [1.0] * 15 + [0.0], (0.0, 1.0)).high
    assert high is not None
    assert 0.9375 < high <= 1


def test_a_mean_is_of_the_numbers_that_there_are() -> None:
    assert mean([1.0, None, 3.0]) == 2.0
    assert isnan(mean([None]))
