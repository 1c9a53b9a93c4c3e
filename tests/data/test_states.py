"""States of a tiny model's real tokens: narrowing, selecting and values of every kind, in memory and in files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, Relation, Target
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.data.store import Shards, mapped
from workbench.models.activations import Activations
from workbench.models.conversation import Conversation
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec, union
from workbench.models.sites import Site

N = 8
SPLIT = np.array(["train"] * 5 + ["validation"] * 3)
TEXTS = [f"{'yes no maybe'[: 4 + k]} {k}" for k in range(N)]
LABEL = Target("label", "a label")
TOPIC = Target("topic", "a topic", kind="class", classes=("a", "b"))
SIZE = Target("size", "a size", kind="number")
MARK = Target("mark", "digit or letter", kind="token", classes=("digit", "letter"))
COLUMNS = (
    np.array([1, 0, 2, -1, 1, 1, 0, -1], dtype=np.int8),
    np.array([0, 1, -1, 0, 1, 0, 1, 1]),
    np.array([0.5, np.nan, 1, 2, 3, 4, 5, 6]),
    np.array(
        [
            None if k == 1 else np.array([-1 if c == " " else int(c.isalpha()) for c in text])
            for k, text in enumerate(TEXTS)
        ],
        dtype=object,
    ),
)
PAIR = Relation("pair", ("one", "other"), np.array([[0, 1], [1, 4], [5, 6], [0, 6]]))


def dataset(**changes: Any) -> Dataset:
    items = tuple(Item.exchange(f"Ask {k}", text) for k, text in enumerate(TEXTS))
    targets = (LABEL, TOPIC, SIZE, MARK)
    return replace(Dataset("mixed", items, targets, COLUMNS, SPLIT, relations=(PAIR,)), **changes)


@pytest.fixture
def states(llama: Model) -> States:
    return States.read(dataset(), llama, ReadSpec.at(Site(0), Site(1)))


def test_states_and_tokens_show_themselves_in_a_line(states: States, llama: Model) -> None:
    assert repr(states).startswith("States('mixed', 8 items, blocks.0.hook_resid_post")
    assert len(repr(states)) < 160
    assert repr(llama.tokenize(["a", "b c"])).startswith("Tokens(2 rows, ")


def equal(one: Activations | Shards, other: Activations | Shards, tolerance: float = 0.0) -> None:
    assert one.sites == other.sites
    assert one.n_rows == other.n_rows
    rows, positions = (
        [
            torch.cat(
                [getattr(part, name) for part in each.parts if getattr(part, name) is not None] or [torch.zeros(0)]
            )
            for each in (one, other)
        ]
        for name in ("row", "position")
    )
    assert torch.equal(*rows)
    assert torch.equal(*positions)
    for site in one.sites:
        x, y = (torch.cat([part.x(site) for part in each.parts]) for each in (one, other))
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def test_samples_of_each_kind_have_the_datasets_values(states: States) -> None:
    label = states.samples("label", "train")
    assert label.y.dtype == torch.bool
    assert label.row.unique().tolist() == [0, 1, 4]  # hard negatives and absent ones are left out
    assert {int(row): bool(y) for row, y in zip(label.row, label.y, strict=True)} == {0: True, 1: False, 4: True}
    topic = states.samples("topic", "validation")
    assert {int(row): int(y) for row, y in zip(topic.row, topic.y, strict=True)} == {5: 0, 6: 1, 7: 1}
    size = states.samples("size", "train")
    assert {int(row): float(y) for row, y in zip(size.row, size.y, strict=True)} == {0: 0.5, 2: 1, 3: 2, 4: 3}
    assert torch.equal(size.x, states.x[torch.isin(states.row, torch.tensor([0, 2, 3, 4]))])
    elsewhere = states.samples("size", "train", Site(1))
    assert torch.equal(elsewhere.x, states.at(Site(1)).samples("size", "train").x)
    assert not torch.equal(elsewhere.x, size.x)


def test_groups_are_the_datasets(llama: Model) -> None:
    groups = np.array([3, 3, 0, 1, 1, 5, 5, 6])
    found = States.read(dataset(group=groups), llama).samples("size", "train")
    assert torch.equal(found.group, torch.from_numpy(groups)[found.row])


@pytest.mark.parametrize("closed", [False, True])
def test_each_token_has_the_class_of_its_own_characters(llama: Model, closed: bool) -> None:
    """Bytes are tokens here, so that what a token is can be read off its id."""
    data = dataset()
    if closed:  # the template closes the turn with tokens of its own
        turns = (tuple(item.conversation.turns) for item in data.items)
        data = replace(data, items=tuple(Item(Conversation.chat(each)) for each in turns))
    states = States.read(data, llama)
    found, tokens = states.samples("mark", "train"), llama.encode(data.conversations)
    spelled = []
    for row in found.row.unique().tolist():
        start = tokens.rows[row].response
        text = llama.tokenizer.decode(tokens.rows[row].ids[start : start + len(TEXTS[row])])
        assert text == TEXTS[row]
        spelled += [(row, c) for c in text if c != " "]
    assert 1 not in found.row
    assert [(int(row), int(y)) for row, y in zip(found.row, found.y, strict=True)] == [
        (row, int(c.isalpha())) for row, c in spelled
    ]
    bare = llama.read(data.conversations, Site(1), positions=f"response[:{len(TEXTS[0])}]").select([0]).x(Site(1))
    kept = [k for k, c in enumerate(TEXTS[0]) if c != " "]
    torch.testing.assert_close(
        states.at(Site(1)).samples("mark", "train").x[: len(kept)], bare[kept], rtol=1e-4, atol=1e-4
    )


def test_characters_of_several_bytes_and_bare_texts(llama: Model) -> None:
    text = "é 1"
    column = np.empty(1, dtype=object)
    column[0] = np.array([1, -1, 0])
    data = Dataset("bare", (Item.bare(text),), (MARK,), (column,))
    assert States.read(data, llama).samples("mark", "train").y.tolist() == [1, 1, 0]  # é is two bytes


def test_what_has_no_samples_is_named(states: States, llama: Model) -> None:
    with pytest.raises(DataError, match="a class a token needs states of tokens, and these are pooled"):
        states.at(ReadSpec.at(Site(0), pool="mean")).samples("mark", "train")
    with pytest.raises(DataError, match=r"no state read at prompt has a class of 'mark' in 'train'"):
        States.read(dataset(), llama, ReadSpec.at(Site(0), positions="prompt")).samples("mark", "train")
    with pytest.raises(DataError, match="'size' has no items in split 'evaluation'"):
        states.samples("size", "evaluation")
    with pytest.raises(DataError, match="do not carry the live model"):
        replace(states, through=None).samples("mark", "train")
    wrong = [*COLUMNS]
    wrong[3] = COLUMNS[3].copy()
    wrong[3][2] = np.full(len(TEXTS[2]), 2)
    with pytest.raises(DataError, match="item 2 of set 'mixed' has values of 'mark' that are no class; use 0 to 1"):
        dataset(columns=tuple(wrong))
    wrong[2:] = [np.where(np.arange(N) == 3, np.inf, COLUMNS[2]), COLUMNS[3]]
    with pytest.raises(DataError, match="item 3 of set 'mixed' has an infinite 'size'"):
        dataset(columns=tuple(wrong))


SPECS = (
    ReadSpec.at(Site(1)),
    ReadSpec.at(Site(0), positions="response"),
    ReadSpec.at(Site(1), positions="response[-1]"),
    ReadSpec.at(Site(1), Site(0), positions="prompt[-2:]+response"),
    ReadSpec.at(Site(0), positions="response", pool="mean"),
    ReadSpec.at(Site(1), pool="max"),
    ReadSpec.at(Site(0), positions="prompt[-1]", pool="last"),
    ReadSpec.at(Site(1), positions="between(61,87;67)-prefix"),  # from the header's "[u" to the first "a"
)


@pytest.mark.parametrize("stored", [False, True])
def test_one_reading_gives_back_every_narrower_one(llama: Model, tmp_path: Path, stored: bool) -> None:
    whole = States.read(dataset(), llama, union(SPECS), store=tmp_path if stored else None)
    for spec in SPECS:
        equal(whole.at(spec).activations, llama.read(dataset().conversations, spec), 1e-5)
        assert whole.at(spec).spec == spec
    with pytest.raises(DataError, match="cannot be had from what was read"):
        whole.at(Site(2))
    for other in (replace(SPECS[4], positions=SPECS[2].positions), replace(SPECS[4], pool="max"), SPECS[1]):
        with pytest.raises(DataError, match="cannot be had"):
            whole.at(SPECS[4]).at(other)
    with pytest.raises(DataError, match=r"response takes tokens that were not read; read were .* at response\[-1\]"):
        whole.at(SPECS[2]).at(replace(SPECS[2], positions=SPECS[1].positions))
    assert whole.at(SPECS[4]).at(SPECS[4]).spec == SPECS[4]


def test_selected_targets_of_any_kind_keep_their_samples(states: States) -> None:
    for names in (["topic"], ["size", "mark"], ["label"]):
        part = states.select(names)
        assert part.activations.n_rows == len(part.dataset) < N
        for name in names:
            one, other = part.samples(name, "train"), states.samples(name, "train")
            assert torch.equal(one.x, other.x)
            assert torch.equal(one.y, other.y)
            assert one.digest == other.digest
    assert states.samples("size", "train").digest != states.samples("topic", "train").digest


def test_shards_select_as_activations_in_memory_do(llama: Model, tmp_path: Path) -> None:
    shards = mapped(llama, dataset().conversations, ReadSpec.at(Site(0), Site(1)), folder=tmp_path, shard_rows=3)
    parts = shards.parts
    arrays = {site: torch.cat([part.arrays[site] for part in parts]) for site in shards.sites}
    whole = Activations(
        arrays,
        torch.cat([part.row for part in parts]),
        N,
        torch.cat([part.position for part in parts]),  # type: ignore[misc]
    )
    equal(shards, whole)
    for rows in ([0], [7, 0, 3, 3], [2, 3, 4], list(range(N))):
        equal(shards.select(rows), whole.select(rows))
    chosen = whole.row != 4
    chosen[::2] = False
    equal(shards.where(chosen), whole.where(chosen))
    equal(shards.at([Site(1)]), whole.at([Site(1)]))
    equal(shards.pooled("mean"), whole.pooled("mean"), 1e-6)
    for refuse, message in (
        (lambda source: source.select([8]), "row 8"),
        (lambda source: source.select([]), "no rows|at least one"),
        (lambda source: source.select([True] * N), "takes row numbers"),
        (lambda source: source.where(chosen).pooled("mean"), r"no items to pool in rows \[4\]"),
    ):
        for source in (shards, whole):
            with pytest.raises(ValueError, match=message):
                refuse(source)


def test_related_texts_are_those_of_whole_groups(states: States) -> None:
    data = states["label"]
    assert sorted(data.row.unique().tolist()) == [0, 1, 4]
    sides = data.related("pair")  # [0, 1] and [1, 4] are whole in the training data; [5, 6] is validation
    mean = [data.x[data.row == row].double().mean(0) for row in range(N)]
    torch.testing.assert_close(sides["one"], torch.stack([mean[0], mean[1]]))
    torch.testing.assert_close(sides["other"], torch.stack([mean[1], mean[4]]))
    assert data.held_out is not None
    assert len(data.held_out.related("pair")["one"]) == 1
    with pytest.raises(DataError, match="the data of 'label' has no relation 'triple'; it has pair"):
        data.related("triple")
    alone = replace(data, relations=(Relation("pair", ("one", "other"), np.array([[0, 6]])),))
    with pytest.raises(DataError, match="the data of 'label' have all texts of no group of relation 'pair'"):
        alone.related("pair")


def test_digests_follow_the_relations_that_a_fit_can_read(states: States) -> None:
    def digests(members: list[list[int]]) -> tuple[str, str]:
        relations = (Relation("pair", ("one", "other"), np.array(members)),)
        data = replace(states.dataset, relations=relations)
        labelled: Labelled = replace(states, dataset=data)["label"]
        return labelled.digest, data.digest_of("label", ("train",))

    assert digests([[0, 1], [5, 6]]) == digests([[0, 1]])
    assert not {*digests([[0, 1]])} & {*digests([[1, 0]])}
