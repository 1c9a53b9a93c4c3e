from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from workbench.models.activations import Activations
from workbench.models.sites import Site

FIRST, SECOND = Site(0), Site(1, "z")
ROW = torch.tensor([0, 0, 0, 1, 3, 3])  # row 2 has no items
POSITION = torch.tensor([1, 2, 5, 0, 0, 4])


def made(row: Tensor = ROW, n_rows: int = 4, position: Tensor | None = POSITION, **arrays: Tensor) -> Activations:
    """Arrays whose values say where they come from: item number in front, column number behind the point."""
    x = torch.arange(len(row))[:, None] + torch.arange(3) / 10
    return Activations(
        {FIRST: arrays.get("first", x), SECOND: arrays.get("second", x[:, :2] * -1)}, row, n_rows, position
    )


def test_holds_sites_of_different_widths_by_name_or_site() -> None:
    held = made()
    assert held.sites == (FIRST, SECOND)
    assert held.x(FIRST).shape == (6, 3)
    assert torch.equal(held.x("blocks.1.attn.hook_z"), held.arrays[SECOND])
    assert held.counts.tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_x_is_float32_whatever_was_read(dtype: torch.dtype) -> None:
    assert made(first=torch.ones(6, 3, dtype=dtype)).x(FIRST).dtype == torch.float32


def test_a_site_that_was_not_read_is_refused_with_those_that_were() -> None:
    with pytest.raises(
        ValueError, match=r"blocks\.2\.hook_resid_post was not read; .* hold blocks\.0\.hook_resid_post, b"
    ):
        made().x(Site(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_rows": 3}, "rows run from 0 to 3, but there are 3"),
        ({"row": ROW - 1}, "rows run from -1"),
        ({"row": torch.tensor([0, 1, 0, 1, 3, 3])}, "item 2 is of row 0 after row 1"),
        ({"position": torch.tensor([1, 2, 2, 0, 0, 4])}, "position must ascend within each row"),
        ({"second": torch.ones(5, 2)}, r"blocks\.1\.attn\.hook_z holds 5 items, but row has 6"),
        ({"second": torch.ones(6, 2, 1)}, r"of shape \[6, 2, 1\]"),
        ({"second": torch.ones(6, 2, dtype=torch.long)}, "expected floats"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_positions_of_another_length_are_refused() -> None:
    # In a test run the shape checks see it first.
    with pytest.raises((ValueError, TypeCheckError), match="position"):
        made(position=POSITION[:-1])


def test_no_site_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one site"):
        Activations({}, ROW, 4)


def test_select_takes_rows_in_the_order_given_and_renumbers_them() -> None:
    chosen = made().select([3, 2, 0, 3])
    assert chosen.n_rows == 4
    assert chosen.row.tolist() == [0, 0, 2, 2, 2, 3, 3]
    assert chosen.x(FIRST)[:, 0].tolist() == [4, 5, 0, 1, 2, 4, 5]
    assert chosen.position is not None
    assert chosen.position.tolist() == [0, 4, 1, 2, 5, 0, 4]


@pytest.mark.parametrize("rows", [[0], np.array([0]), torch.tensor([0])])
def test_select_takes_row_numbers_of_any_kind(rows: Any) -> None:
    assert made().select(rows).x(FIRST)[:, 0].tolist() == [0, 1, 2]


def test_selecting_all_rows_changes_nothing_and_pieces_equal_the_whole() -> None:
    held = made()
    assert torch.equal(held.select(range(4)).x(SECOND), held.x(SECOND))
    pieces = [held.select([row]).x(SECOND) for row in range(4)]
    assert torch.equal(torch.cat(pieces), held.x(SECOND))


@pytest.mark.parametrize(
    ("rows", "message"), [([4], "row 4, but there are 4"), ([0, -1], "row -1"), ([], "at least one"), ([True], "bool")]
)
def test_select_refuses_what_names_no_row(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made().select(rows)


@pytest.mark.parametrize("how", ["mean", "last", "max"])
def test_pooled_equals_pooling_each_row_by_hand(how: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    held = made(first=-torch.rand(6, 3, generator=generator)).select([0, 1, 3])
    by_hand = {"mean": lambda x: x.mean(0), "last": lambda x: x[-1], "max": lambda x: x.amax(0)}[how]
    expected = torch.stack([by_hand(held.x(FIRST)[held.row == row]) for row in range(3)])
    pooled = held.pooled(how)
    assert pooled.position is None
    assert pooled.row.tolist() == [0, 1, 2]
    torch.testing.assert_close(pooled.x(FIRST), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("how", ["mean", "last", "max"])
def test_pooled_equals_pooling_while_reading(model: Any, how: Any) -> None:
    texts, sites = ["one", "a longer text", "x"], ["blocks.0.hook_resid_post", "blocks.2.hook_mlp_out"]
    pooled, expected = model.read(texts, sites).pooled(how), model.read(texts, sites, pool=how)
    for site in sites:
        torch.testing.assert_close(pooled.x(site), expected.x(site), rtol=0, atol=1e-5)


def test_pooled_names_a_row_without_items_and_an_unknown_way() -> None:
    with pytest.raises(ValueError, match=r"no items to pool in rows \[2\] of"):
        made().pooled("mean")
    how: Any = "median"
    with pytest.raises((ValueError, TypeCheckError), match="median"):
        made().pooled(how)


def test_shows_itself_in_few_words() -> None:
    held = Activations({Site(layer): torch.zeros(6, 3) for layer in range(30)}, ROW, 4)
    assert "6 items of 4 rows" in repr(held)
    assert "27 more" in repr(held)
    assert len(repr(held)) < 250


def test_shows_itself_in_a_notebook_with_names_escaped() -> None:
    # A stream is any hook name, and hook names come from model files.
    held = Activations({Site(0, "mlp.hook_<script>"): torch.zeros(6, 3)}, ROW, 4)
    assert "<script>" not in held._repr_html_()
    assert "mlp.hook_&lt;script&gt;" in held._repr_html_()
