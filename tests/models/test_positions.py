import pytest
import torch
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
    for place in range(row.response, len(row.ids)):
        ids, index = torch.tensor([[row.ids[place]]]), torch.tensor([[place]])
        chosen += positions.mask(Layout(ids, index, first.prefix, first.response, None, first.rows))[0].tolist()
    assert [place for place, here in enumerate(chosen) if here] == SELECTED[text][0]


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
