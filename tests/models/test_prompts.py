"""Prompts that share what they can against each row alone: random models in float64, equal to 1e-10."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import FAMILIES, blocks_of, tiny_module, tiny_tokenizer
from workbench.models.edits import Add, Edit
from workbench.models.gates import Gate
from workbench.models.model import Model, wrap
from workbench.models.positions import ALL, Positions
from workbench.models.running import start
from workbench.models.sites import Part, Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens

TEXTS = ["hello", "hi there you", "hello", "a much longer text than the others", "hi there you", "hello"]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.fixture(params=FAMILIES)
def exact(request: pytest.FixtureRequest) -> Model:
    """A tiny model in float64; Gemma 3's first and third block see 16 tokens back."""
    return wrap(tiny_module(request.param).double(), tiny_tokenizer())


@pytest.fixture(params=[0, 10_000], ids=["header", "no header"])
def pass_tokens(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Whether a header runs by itself however short it is, or never."""
    monkeypatch.setattr("workbench.models.prompts.PASS_TOKENS", request.param)
    return request.param


def normal(seed: int, width: int = 32) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def add(layer: int, seed: int, *, stream: str = "resid_post", positions: Positions = ALL, **options: Any) -> Add:
    direction = normal(seed, 8 if "part" in options else 32)
    return Add(site=Site(layer, stream), direction=direction, strength=3.0, positions=positions, **options)


GATE = Gate(site=Site(1), direction=normal(9), threshold=0.0)
EDITS: dict[str, list[list[Edit]]] = {
    "none": [[]] * 6,
    "all tokens of block 1": [[add(1, seed)] for seed in range(6)],
    "block 0": [[add(0, seed)] for seed in range(6)],
    "last block": [[add(2, seed)] for seed in range(6)],
    "answers only": [[add(0, seed, positions=Positions("response"))] for seed in range(6)],
    "prompts only": [[add(1, seed, positions=Positions("prompt"))] for seed in range(6)],
    "behind the first tokens": [[add(1, seed, positions=Positions("all-at(0,1)"))] for seed in range(6)],
    "inside block 1": [[add(1, seed, stream="attn_out")] for seed in range(6)],
    "a part": [[add(1, seed, part=Part("coordinate", tuple(range(seed, seed + 8))))] for seed in range(6)],
    "gated": [[add(2, seed, gate=GATE)] for seed in range(6)],
    "several layers": [
        [],
        [add(2, 1)],
        [add(1, 2), add(2, 3)],
        [add(2, 4, gate=GATE)],
        [],
        [add(1, 5, positions=Positions("prompt"))],
    ],
}


def alone(model: Model, row: Row, edits: list[Edit]) -> Tensor:
    """The logits behind a row that is read by itself, without a cache."""
    with model.edited(edits):
        return model.logits(Tokens((row,)))[0][-1]


@pytest.mark.usefixtures("pass_tokens")
@pytest.mark.parametrize("case", EDITS)
def test_rows_that_share_are_continued_as_each_alone(exact: Model, case: str) -> None:
    prompts, edits = exact.tokenize(TEXTS, chat=True), EDITS[case]
    with torch.no_grad(), exact.edited(per_row(edits)):
        running = start(exact, prompts)
    grown = list(prompts)
    for _ in range(3):
        assert running.logits is not None
        for row, own, logits in zip(grown, edits, running.logits, strict=True):
            close(logits, alone(exact, row, own))
        chosen = running.logits.argmax(1)
        grown = [
            Row((*row.ids, token), row.prefix, row.response) for row, token in zip(grown, chosen.tolist(), strict=True)
        ]
        with torch.no_grad(), exact.edited(per_row(edits)):
            running = running.written(chosen).advanced(exact)


@dataclass
class Seen:
    """How many rows and columns each block was given, pass by pass."""

    model: Model

    def of(self, edits: list[list[Edit]]) -> list[list[tuple[int, int]]]:
        sizes: list[list[tuple[int, int]]] = [[] for _ in blocks_of(self.model)]
        handles = [
            block.register_forward_pre_hook(lambda _, args, own=own: own.append(tuple(args[0].shape[:2])))
            for block, own in zip(blocks_of(self.model), sizes, strict=True)
        ]
        with torch.no_grad(), self.model.edited(per_row(edits)):
            start(self.model, self.model.tokenize(TEXTS, chat=True))
        for handle in handles:
            handle.remove()
        return sizes


def test_each_block_runs_only_what_differs(exact: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.models.prompts.PASS_TOKENS", 0)
    seen, prompts = Seen(exact), exact.tokenize(TEXTS, chat=True)
    seen.of([[]] * 6)  # the first time, what blocks return is looked at
    width, header = max(prompts.lengths), prompts.rows[0].prefix
    once, unique = (1, header), (3, width - header)
    assert seen.of(EDITS["none"]) == [[once, unique]] * 3
    assert seen.of(EDITS["answers only"]) == [[once, unique]] * 3
    assert seen.of(EDITS["all tokens of block 1"]) == [[once, unique], [once, unique], [(6, width)]]
    assert seen.of(EDITS["inside block 1"]) == [[once, unique], [(6, width)], [(6, width)]]
    assert seen.of(EDITS["prompts only"]) == [[once, unique], [once, unique], [once, (6, width - header)]]
    assert seen.of(EDITS["block 0"])[1:] == [[(6, width)]] * 2


def test_the_order_of_rows_and_who_is_beside_them_change_nothing(exact: Model) -> None:
    prompts, edits = exact.tokenize(TEXTS, chat=True), EDITS["several layers"]
    order = [5, 0, 3, 1, 4, 2]
    with torch.no_grad(), exact.edited(per_row(edits)):
        logits = start(exact, prompts).logits
    with torch.no_grad(), exact.edited(per_row([edits[row] for row in order])):
        moved = start(exact, prompts[order]).logits
    assert logits is not None
    assert moved is not None
    close(moved, logits[order])
