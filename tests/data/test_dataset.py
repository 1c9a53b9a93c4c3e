import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, Relation, Split, Target

from .sets import SEA, SQL, A, H, N, P, changed, relabelled, small


def test_rows_give_the_planted_labels_by_name_and_by_number() -> None:
    data = small()
    assert data.rows("sea", "train", P).tolist() == [0]
    assert data.rows("sql", "train", P).tolist() == data.rows(1, "train", P).tolist() == [1]
    assert data.rows("sea", "evaluation", N).tolist() == [8]
    assert data.rows("sql", "evaluation", H).tolist() == [9]
    assert data.rows(0, "evaluation", H).tolist() == []
    assert len(data.targets) == 2
    assert len(data) == 10


@pytest.mark.parametrize("unknown", ["ocean", 2, -1])
def test_unknown_target_is_named_with_those_there_are(unknown: str | int) -> None:
    with pytest.raises(DataError, match=rf"set 'small' has no target {unknown!r}; it has sea, sql"):
        small().rows(unknown, "train", P)


def test_split_restricts_rows_and_keeps_everything_else() -> None:
    part = small().part("validation")
    assert [e.instruction for e in part.items] == [f"Instruction {row}?" for row in (3, 4, 5)]
    assert part.labels.tolist() == [[P, A], [A, P], [N, N]]
    assert part.targets == (SEA, SQL)
    assert part.splits == ("validation",)
    assert part.instructions == ("Say something.",)
    with pytest.raises(DataError, match=r"has no split 'train'; it has validation"):
        part.part("train")


def test_select_reorders_concepts_and_drops_rows_that_none_uses() -> None:
    data = small()
    assert data.select(["sql", "sea"]).labels.tolist() == data.labels[:, ::-1].tolist()
    one = data.select([0])
    assert one.targets == (SEA,)
    assert [e.response for e in one.items] == [f"Response {row}." for row in (0, 2, 3, 5, 6, 8)]
    with pytest.raises(DataError, match=r"has target 'sea' 2 times"):
        data.select(["sea", 0])
    with pytest.raises(DataError, match=r"no target was asked for; give at least one"):
        data.select([])


def test_subset_takes_the_first_concepts() -> None:
    assert small().subset(1).digest == small().select(["sea"]).digest
    assert small().subset(5).digest == small().digest
    with pytest.raises(DataError, match=r"a subset of 0 targets is empty"):
        small().subset(0)


def test_labels_cannot_be_changed_from_outside() -> None:
    source = small().labels.copy()
    data = small().with_labels(source)
    source[0, 0] = H
    assert data.labels[0, 0] == P
    for array in (data.labels[0], data.column(0), data.split, data.group):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]
    with pytest.raises(FrozenInstanceError):
        data.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_digest_follows_content_and_order_but_not_the_name() -> None:
    digest = small().digest
    assert len(bytes.fromhex(digest)) == 32
    assert replace(small(), name="other").digest == digest
    others = [
        changed(0, response="Another response."),
        changed(9, word="join"),
        relabelled(9, 0, H),
        relabelled(9, 1, N),
        replace(small(), instructions=()),
        small().select(["sql", "sea"]),
        replace(small(), targets=(replace(SEA, description="boats"), SQL)),
        small().take(range(9, -1, -1)),
    ]
    assert len({digest, *(other.digest for other in others)}) == len(others) + 1


def test_digest_is_the_same_in_another_process() -> None:
    code = "from workbench.data.packaged import packaged; print(packaged().digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_html_counts_and_escapes() -> None:
    data = replace(small(), name="<img src=x onerror=alert(1)>")
    page = data._repr_html_()
    assert "<td>sql</td><td>code</td><td>1 / 1 / 0</td><td>1 / 1 / 0</td><td>1 / 1 / 1</td>" in page
    assert "<td>SQL &lt;queries&gt; &amp; joins</td>" in page
    assert "<img" not in page


def test_repr_is_short() -> None:
    assert repr(small()) == "Dataset('small', 10 items, 2 targets)"


def test_relations_follow_the_items_that_are_taken() -> None:
    pairs = Relation("pair", ("one", "other"), np.array([[0, 1], [2, 4], [7, 8]]))
    data = replace(small(), relations=(pairs,))
    part = replace(data, targets=(), columns=()).take([8, 7, 2])
    assert part.relation("pair").members.tolist() == [[1, 0]]
    assert part.relation("pair").role("other").tolist() == [0]
    with pytest.raises(DataError, match="has no relation 'triple'; it has pair"):
        data.relation("triple")


def test_digest_of_a_target_follows_what_its_fit_reads_and_nothing_else() -> None:
    data = small()
    fits: tuple[Split, ...] = ("train", "validation")
    code = data.digest_of("sea", fits)
    assert changed(6, response="Another.").digest_of("sea", fits) == code  # evaluation
    assert changed(1, response="Another.").digest_of("sea", fits) == code  # of sql alone
    assert data.select(["sql", "sea"]).digest_of("sea", fits) == code
    assert replace(data, instructions=()).digest_of("sea", fits) == code
    described = replace(data, targets=(replace(SEA, description="x"), SQL))
    for other in (changed(0, response="Another."), relabelled(1, 0, N), described):
        assert other.digest_of("sea", fits) != code


@pytest.mark.parametrize(
    ("target", "column", "rows"),
    [
        (Target("topic", "its topic", kind="class", classes=("a", "b", "c")), np.array([0, 2, -1, 1]), [0, 1, 3]),
        (Target("size", "its size", kind="number"), np.array([1.5, np.nan, 0.0, -2.0]), [0, 2, 3]),
        (Target("mark", "a mark", kind="token", classes=("no", "yes")), [None, [0, 1, 1], None, [1, 1, -1]], [1, 3]),
    ],
)
def test_targets_of_other_kinds(target: Target, column: Any, rows: list[int]) -> None:
    if target.kind == "token":
        column = np.array([None if value is None else np.array(value) for value in column], dtype=object)
    data = Dataset("others", tuple(Item.bare(f"t {k}") for k in range(4)), (target,), (column,))
    assert data.rows(0, "train").tolist() == rows
    assert len({data.digest, data.digest_of(0, ("train",)), replace(data, name="x").digest}) == 2
    with pytest.raises(DataError, match=f"is of kind {target.kind}; it has no Labels"):
        _ = data.labels


def test_values_that_a_kind_does_not_have_are_named() -> None:
    items = tuple(Item.bare(f"t {k}") for k in range(2))
    topic = Target("topic", "its topic", kind="class", classes=("a", "b"))
    with pytest.raises(DataError, match="item 1 of set 'x' has class label 2 for 'topic'; use 0 to 1"):
        Dataset("x", items, (topic,), (np.array([0, 2]),))
    mark = Target("mark", "a mark", kind="token", classes=("no", "yes"))
    with pytest.raises(DataError, match=r"item 0 of set 'x' has values of shape \(2,\) of 'mark'"):
        Dataset("x", items, (mark,), (np.array([np.array([0, 1]), None], dtype=object),))
    with pytest.raises(DataError, match="targets of kind class and token have names of classes"):
        Target("topic", "its topic", kind="class")


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("binary", np.array([0.0, 1.0]), np.int8),
        ("binary", np.array([False, True]), np.int8),
        ("binary", np.array([0, 1]), np.int8),
        ("class", np.array([-1.0, 1.0], dtype=np.float32), np.int64),
        ("number", np.array([2, 3]), np.float64),
        ("number", np.array([0.5, np.nan], dtype=np.float32), np.float64),
    ],
)
def test_values_of_another_type_are_taken_where_nothing_is_lost(kind: Any, values: np.ndarray, expected: type) -> None:
    target = Target("mark", "a mark", kind=kind, classes=("a", "b") if kind == "class" else ())
    (column,) = Dataset("x", (Item.bare("t 0"), Item.bare("t 1")), (target,), (values,)).columns
    assert column.dtype == expected
    np.testing.assert_array_equal(column, values.astype(expected))


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("values", [np.array([0.7, 1.0]), np.array([np.nan, 1.0]), np.array([0, 300])])
def test_a_number_is_no_label(values: np.ndarray) -> None:
    items = (Item.bare("t 0"), Item.bare("t 1"))
    for make in (
        lambda: Dataset("x", items, (SEA,), (values,)),
        lambda: Dataset.of_labels("x", items, [SEA], values[:, None], ["train", "train"]),
    ):
        with pytest.raises(DataError, match=r"the values of 'sea' in set 'x' are .*; expected int8 .* of kind number"):
            make()


@pytest.mark.usefixtures("types_unchecked")
def test_a_steering_instruction_is_one_text() -> None:
    messages: Any = [{"role": "user", "content": "why?"}]
    with pytest.raises(DataError, match="steering instruction 1 of set 'small' is a list; expected one text"):
        replace(small(), instructions=("why?", messages))
    with pytest.raises(DataError, match="steering instruction 0 of set 'small' is empty"):
        replace(small(), instructions=(" ",))
