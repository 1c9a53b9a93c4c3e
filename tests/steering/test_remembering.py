"""The model that several trainings start from reads their texts once."""

from time import process_time
from typing import Any

import pytest
import torch

from steering.training.remembering import RememberingModel, training_clock
from tests.tiny import tiny_model
from workbench.data.labelled import ModelAccess
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site


def test_texts_are_read_and_scored_once_and_other_ones_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    remembering, ran, forward = RememberingModel.of(model), list[int](), Model.forward

    def counted(self: Model, layout: Any, **options: Any) -> Any:
        ran.append(len(layout.ids))
        return forward(self, layout, **options)

    monkeypatch.setattr(Model, "forward", counted)
    texts, fewer = (model.tokenize(["one", "two"][:n], ["three", "four"][:n]) for n in (2, 1))
    both, one = (ReadSpec.at(*sites, positions="response", pool="mean") for sites in ((0, 1), (1,)))
    asked = [
        lambda of, tokens: of.score(tokens).nll,
        lambda of, tokens: of.read(tokens, both).arrays[Site(1)],
        lambda of, tokens: of.read(tokens, one).arrays[Site(1)],
        lambda of, tokens: of.read(tokens, 1).arrays[Site(1)],
        lambda of, tokens: of.read(tokens, [Site(0), 1], positions="all").arrays[Site(1)],
    ]
    new = []
    for tokens in (texts, fewer, texts):
        for ask in asked:
            expected, before = ask(model, tokens), len(ran)
            assert torch.equal(ask(remembering, tokens), expected)
            new.append(len(ran) > before)
    spared = remembering.clock - process_time()
    assert spared > 0
    asked[0](remembering, texts)
    assert remembering.clock - process_time() > spared
    assert training_clock(ModelAccess(model, reference=remembering)) > process_time()
    assert new == [True, True, False, True, True] * 2 + [False] * 5
    assert remembering.digest == model.digest
