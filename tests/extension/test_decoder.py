"""Guest 6, a decoder that never stops: rows come and go, and each text equals the text it has alone."""

from dataclasses import replace

import pytest
import torch

import workbench as wb
from tests.tiny import FAMILIES, Family, tiny_module, tiny_tokenizer

TEXTS = ["the sea", "a much longer prompt about an old harbour", "x", "one two three", "why does it rain?", "hm", "end"]
ARRIVES = [0, 0, 2, 5, 5, 9, 30]  # the step at which each row is added
ABORTED, ABORT_AT = 1, 7


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_come_and_go_get_the_texts_they_get_alone(family: Family) -> None:
    model = wb.load(tiny_module(family).double(), tiny_tokenizer())
    direction = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    edits = [
        [wb.Add(site=wb.Site(1), direction=direction[0], strength=4.0)],
        [wb.Add(site=wb.Site(0), direction=direction[1], strength=9.0)],
        [],
        [wb.ProjectOut(site=wb.Site(1), direction=direction[1]), wb.Add(site=wb.Site(1), direction=direction[0])],
        [wb.Add(site=wb.Site(1), direction=direction[1], strength=-4.0)],
        [],
        [wb.Add(site=wb.Site(2), direction=direction[0], strength=2.0)],
    ]
    kinds = [
        (30, 1.0, 1.0),
        (40, 1.0, 0.9),
        (5, 0.0, 1.0),
        (20, 0.7, 0.8),
        (33, 0.0, 1.0),
        (1, 1.0, 1.0),
        (25, 1.0, 1.0),
    ]
    samplings = [wb.Sampling(n, heat, top_p, row_seeds=(row,)) for row, (n, heat, top_p) in enumerate(kinds)]
    samplings[3] = replace(samplings[3], stop=("e", "q"))
    decoder, numbers, done = wb.Decoder(model), {}, {}
    for step in range(60):
        for row, text in enumerate(TEXTS):
            if ARRIVES[row] == step:
                [numbers[row]] = decoder.add(model.tokenize([text], chat=True), [samplings[row]], edits[row])
        if step == ABORT_AT:
            done[numbers[ABORTED]] = decoder.finish(numbers[ABORTED])
        done.update(decoder.step())
    assert not decoder.running
    for row, text in enumerate(TEXTS):
        [alone] = model.generate([text], edits=edits[row], sampling=samplings[row])
        if row == ABORTED:
            alone = replace(alone, ids=alone.ids[:ABORT_AT], text=model.tokenizer.decode(alone.ids[:ABORT_AT]))
        assert done[numbers[row]] == replace(alone, ended=alone.ended and row != ABORTED)
