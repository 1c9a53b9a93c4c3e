"""Guest 5, a gate: a row is edited at layer 2 only if its own prompt scored above a threshold at layer 0."""

from dataclasses import replace

import torch

import workbench as wb
from tests.tiny import tiny_model

WRITES, WATCHES = wb.Site(2), wb.Site(0)
PROMPTS = ["What is the sea?", "two and two make", "Tell me of the old sea again", "hi", "Name a river"]


def test_rows_are_edited_by_what_their_own_prompts_showed() -> None:
    model = tiny_model()
    direction, watched = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    prompts, sampling = model.tokenize(PROMPTS, chat=True), wb.Sampling(max_new_tokens=12, temperature=1.0)
    scores = model.read(prompts, WATCHES, positions="prompt", pool="mean").x(WATCHES) @ watched
    threshold = float(scores.sort().values[2:4].mean())  # two rows of five lie above it
    steer = wb.Add(site=WRITES, direction=direction, strength=8.0)
    gated = wb.Add(
        site=WRITES,
        direction=direction,
        strength=8.0,
        gate=wb.Gate(site=WATCHES, direction=watched, threshold=threshold),
    )
    plain = model.generate(prompts, sampling=sampling)
    steered = model.generate(prompts, edits=steer, sampling=sampling)
    found = model.generate(prompts, edits=gated, sampling=sampling)
    opened = (scores > threshold).tolist()
    assert sum(opened) == 2
    assert found == [steered[row] if opened[row] else plain[row] for row in range(5)]
    assert all(plain[row] != steered[row] for row in range(5))
    # The same text without a cache: every token of the finished row is edited, or none is.
    for row, text in zip(prompts, found, strict=True):
        whole = replace(prompts, rows=(replace(row, ids=(*row.ids, *text.ids)),))
        with model.edited(gated):
            edited = model.read(whole, WRITES, positions="all").x(WRITES)
        moved = edited - model.read(whole, WRITES, positions="all").x(WRITES)
        expected = 8 * direction if opened[list(prompts).index(row)] else torch.zeros(32)
        torch.testing.assert_close(moved, expected.expand_as(moved), atol=1e-4, rtol=1e-4)
