import pytest
import torch

from workbench.models.tokens import Row, Tokens


@pytest.mark.parametrize(("prefix", "response"), [(-1, 2), (3, 2), (0, 5)])
def test_regions_out_of_order_are_refused(prefix: int, response: int) -> None:
    with pytest.raises(ValueError, match="a row of 4 tokens cannot have its prefix end at"):
        Row((1, 2, 3, 4), prefix, response)


@pytest.mark.parametrize("pad_id", [0, 1, 7])
@pytest.mark.parametrize(
    ("side", "ids", "index"),
    [
        ("right", [[7, 0, 7], [0, -9, -9]], [[0, 1, 2], [0, -1, -1]]),
        ("left", [[7, 0, 7], [-9, -9, 0]], [[0, 1, 2], [-1, -1, 0]]),
    ],
)
def test_the_mask_comes_from_lengths_and_not_from_the_pad_id(
    pad_id: int, side: str, ids: list[list[int]], index: list[list[int]]
) -> None:
    padded = Tokens((Row((7, 0, 7)), Row((0,)))).pad(side, pad_id)
    expected = torch.tensor(ids)
    assert torch.equal(padded.ids, torch.where(expected == -9, pad_id, expected))
    assert torch.equal(padded.index, torch.tensor(index))
    assert torch.equal(padded.mask, padded.index >= 0)


@pytest.mark.parametrize("budget", [1, 8, 10, 1000])
def test_batches_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = [5, 1, 9, 2, 2, 7, 1]
    tokens = Tokens(tuple(Row((3,) * length) for length in lengths))
    batches = list(tokens.batches(budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget for batch in batches)
    assert [lengths[row] for batch in batches for row in batch] == sorted(lengths)
    assert len(batches) == {1: 7, 8: 4, 10: 4, 1000: 1}[budget]


def test_rows_can_be_picked_in_any_order() -> None:
    tokens = Tokens((Row((1,)), Row((2, 2)), Row((3,))))
    assert [row.ids for row in tokens[[2, 0]]] == [(3,), (1,)]
    assert tokens[[2, 0, 1]].lengths == [1, 1, 2]
