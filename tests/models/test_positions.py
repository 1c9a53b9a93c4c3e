from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from workbench.models.positions import ALL, CONTENT, Layout, Positions
from workbench.models.tokens import Row, Tokens

ROWS = Tokens((Row((0, 5, 6, 7, 6, 8, 0), 2, 5), Row((0, 6, 9), 1, 2), Row((5,), 0)))
"""Prefix, prompt and response: 2 + 3 + 2 tokens, 1 + 1 + 1, and 0 + 1 + 0."""

SELECTED = {
    "all": ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2], [0]),
    "prefix": ([0, 1], [0], []),
    "prompt": ([2, 3, 4], [1], [0]),
    "response": ([5, 6], [2], []),
    "prompt[-1]": ([4], [1], [0]),
    "prompt[-2:]": ([3, 4], [1], [0]),
    "prompt[:2]": ([2, 3], [1], [0]),
    "prompt[1:]": ([3, 4], [], []),
    "prompt[:-1]": ([2, 3], [], []),
    "prompt[0]": ([2], [1], [0]),
    "prompt[-9:]": ([2, 3, 4], [1], [0]),
    "prompt[:9]": ([2, 3, 4], [1], [0]),
    "prompt[5]": ([], [], []),
    "prompt[-5]": ([], [], []),
    "response[0]": ([5], [2], []),
    "response[1:]": ([6], [], []),
    "response[-1]": ([6], [2], []),
    "all[-1]": ([6], [2], [0]),
    "all[0]": ([0], [0], [0]),
    "all[1:3]": ([1, 2], [1, 2], []),
    "prompt[-1]+response": ([4, 5, 6], [1, 2], [0]),
    "all-prefix": ([2, 3, 4, 5, 6], [1, 2], [0]),
    "all-prefix-prompt[-1]": ([2, 3, 5, 6], [2], []),
    "all-tokens(0)": ([1, 2, 3, 4, 5], [1, 2], [0]),
    "tokens(0)": ([0, 6], [0], []),
    "tokens(6,9)": ([2, 4], [1, 2], []),
    "at(0)": ([0], [0], [0]),
    "at(1,6)": ([1, 6], [1], []),
    "prefix-at(0)+response[0]": ([1, 5], [2], []),
    "between(6;8)": ([2, 3, 4], [1, 2], []),
    "between(0;7)": ([0, 1, 2, 6], [0, 1, 2], []),
    "between(5,6;6,8)": ([2, 3, 4], [], []),
    "between(0,5,6;0)": ([2, 3, 4, 5], [], []),
    "between(6;9)-prefix-prompt": ([5, 6], [], []),
    "response-between(6;8)+at(0)": ([0, 5, 6], [0], [0]),
}


def selected(text: str, side: str, rows: list[int]) -> tuple[list[int], ...]:
    layout = Layout.of(ROWS, rows, side)
    mask = Positions.parse(text).mask(layout)
    return tuple(index[chosen].tolist() for index, chosen in zip(layout.index, mask, strict=True))


@pytest.mark.parametrize("text", SELECTED)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0], [1]])
def test_positions_choose_the_same_tokens_under_any_padding_and_batch(text: str, side: str, rows: list[int]) -> None:
    assert selected(text, side, rows) == tuple(SELECTED[text][row] for row in rows)


@pytest.mark.parametrize("text", [text for text in SELECTED if text not in ("response[-1]", "all[-1]")])
def test_a_growing_text_selects_the_same_tokens_step_by_step(text: str) -> None:
    """What the KV cache needs: prompt first, then one column at a time, is the same as all at once."""
    row, positions = ROWS.rows[0], Positions.parse(text)
    prompt = Tokens((Row(row.ids[: row.response], row.prefix),))
    first = Layout.of(prompt, [0], "left", growing=True)
    chosen = positions.mask(first)[0].tolist()
    layout = first
    for place in range(row.response, len(row.ids)):
        ids, index = torch.tensor([[row.ids[place]]]), torch.tensor([[place]])
        layout = replace(layout, ids=ids, index=index, before=layout.seen)
        chosen += positions.mask(layout)[0].tolist()
    assert [place for place, here in enumerate(chosen) if here] == SELECTED[text][0]


@pytest.mark.parametrize("text", SELECTED)
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_columns_that_have_run_change_nothing_of_the_others(text: str, columns: int) -> None:
    layout, positions = Layout.of(ROWS, [0, 1, 2]), Positions.parse(text)
    rest = layout.after(columns).after(1).select(torch.tensor([2, 0]))
    assert torch.equal(positions.mask(rest), positions.mask(layout)[[2, 0], columns + 1 :])


IDS = st.lists(st.integers(0, 3), min_size=1, max_size=12)
MARK = st.lists(st.integers(0, 3), min_size=1, max_size=3)


def inside(ids: list[int], opening: list[int], closing: list[int]) -> list[bool]:
    """Token by token, as it is defined."""
    is_open, found = False, []
    for end in range(1, len(ids) + 1):
        last = {tuple(mark): ids[max(0, end - len(mark)) : end] == mark for mark in (opening, closing)}
        is_open = not last[tuple(closing)] and (is_open or last[tuple(opening)])
        found.append(is_open)
    return found


@given(st.lists(IDS, min_size=1, max_size=3), MARK, MARK, st.sampled_from(["left", "right"]), st.integers(0, 5))
def test_between_is_a_scan(
    rows: list[list[int]], opening: list[int], closing: list[int], side: str, columns: int
) -> None:
    assume(opening != closing)
    text = f"between({','.join(map(str, opening))};{','.join(map(str, closing))})"
    layout = Layout.of(Tokens(tuple(Row(tuple(ids)) for ids in rows)), [*range(len(rows))], side).after(columns)
    for ids, index, mask in zip(rows, layout.index, Positions(text).mask(layout), strict=True):
        expected = inside(ids, opening, closing)
        assert mask.tolist() == [place >= 0 and expected[place] for place in index.tolist()]


def test_what_opens_and_closes_with_the_same_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between\(7,8;7,8\) opens and closes with the same tokens"):
        Positions("between(7,8;7,8)")


@pytest.mark.parametrize("text", ["response[-1]", "all[-1]", "response[:-2]"])
def test_the_end_of_a_growing_text_is_refused(text: str) -> None:
    growing = Layout.of(ROWS, [0], "left", growing=True)
    with pytest.raises(ValueError, match="counts from the end of a text that is still being generated"):
        Positions.parse(text).mask(growing)


def test_padding_is_never_chosen_although_its_id_is() -> None:
    layout = Layout.of(ROWS, [0, 2], "right")
    assert layout.ids[1, 1] == 0
    assert not Positions("tokens(0)").mask(layout)[1].any()
    assert not ALL.mask(layout)[1, 1:].any()


@pytest.mark.parametrize(
    "text",
    [
        *("", "none", "all+", "+all", "-prefix", "all prompt", "all--prefix", "all[0]x", "tokens()", "tokens(a)"),
        *("between(7)", "between(7,8)", "between(7;)", "between(;8)", "between(7;8;9)", "between[1]"),
        *("tokens(1,)", "at(-1)", "at(,)", "prompt[", "prompt[a]", "prompt[]", "prompt[1:2:3]", "response[1.5]"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read|selects nothing"):
        Positions.parse(text)


def test_spaces_are_free_and_the_text_comes_back() -> None:
    positions = Positions.parse(" all - prefix - at( 0) ")
    assert positions == CONTENT
    assert str(positions) == "all-prefix-at(0)"
    assert Positions.parse(positions) is positions


def test_a_layout_moves_whole() -> None:
    layout = Layout.of(ROWS, [1, 0]).to(torch.device("meta"))
    assert {value.device.type for value in vars(layout).values() if isinstance(value, Tensor)} == {"meta"}
    assert Layout.of(ROWS, [0], growing=True).to(torch.device("cpu")).length is None


def test_rows_go_on_behind_a_beginning_of_their_own() -> None:
    layout = Layout.of(ROWS, [0, 1, 2])
    rest = layout.after(torch.tensor([4, 0, 0]))
    assert rest.index.tolist() == [[4, 5, 6], [0, 1, 2], [0, -1, -1]]
    assert [row[mask].tolist() for row, mask in zip(rest.ids, rest.mask, strict=True)] == [[6, 8, 0], [0, 6, 9], [5]]
    same = layout.after(torch.tensor([1, 1, 1]))
    assert torch.equal(same.index, layout.after(1).index)
