"""Which checkpoint of a training is kept."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from steering.grace.adapting import LOOKS, merge_adapter, train_on_triples
from steering.grace.choosing import FIRST, choosing_loss
from steering.grace.objectives import RefusalObjective
from tests.steering.grace.planted import RECIPE, on, triples
from tests.tiny import tiny_model
from workbench.data.labelled import ModelAccess
from workbench.models.model import Model
from workbench.models.scoring import Scored
from workbench.models.tokens import Tokens


class Turning(RefusalObjective):
    """Learns to refuse and to answer for a third of its steps, and to do neither after that."""

    factor: ClassVar[float] = -5.0

    def loss(self, batch: Any, forward: Any) -> torch.Tensor:
        """Turned round."""
        return super().loss(batch, forward) * (1.0 if float(batch.progress[0]) < 1 / LOOKS else self.factor)


class Breaking(Turning):
    """The loss is not finite any more."""

    factor: ClassVar[float] = math.nan


@pytest.mark.parametrize("kind", [Turning, Breaking])
def test_a_training_that_diverges_keeps_the_best_of_its_checkpoints(kind: type[Turning], tmp_path: Path) -> None:
    model, data, through = tiny_model(), triples(), ModelAccess(tiny_model(), tmp_path)
    objective = on(kind, model, replace(RECIPE, epochs=9))  # 18 steps
    found, adapter = train_on_triples(objective, data, through, data)
    assert [*found.choosing] == ([6, 12, 18] if kind is Turning else [6])
    assert bool(found.stopped) == (kind is Breaking)
    assert min(found.choosing, key=lambda step: found.choosing[step]) == 6
    assert choosing_loss(merge_adapter(model, adapter, "kept"), data) == pytest.approx(found.choosing[6], rel=1e-4)
    assert found.choosing[6] < 0.9 * choosing_loss(model, data)
    again, same = train_on_triples(objective, data, through, data)  # from its checkpoints, without a step
    assert (again.losses, again.choosing) == (found.losses, found.choosing)
    assert same.content_digest == adapter.content_digest
    if kind is Turning:  # without a choice it is the last step's
        _, last = train_on_triples(objective, data, ModelAccess(model))
        assert choosing_loss(merge_adapter(model, last, "last"), data) > 1.1 * found.choosing[6]


def test_the_loss_is_of_how_much_readier_forbidden_requests_are_refused_than_allowed_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, seen = tiny_model(), list[Tokens]()
    planted = {"no": 1.0, "arr": 3.0, "blue": 1.5}

    def score(_: Model, tokens: Tokens) -> Scored:
        seen.append(tokens)
        texts = [model.tokenizer.decode(row.ids[row.response :]) for row in tokens]
        nll = [next(value for word, value in planted.items() if text.strip().startswith(word)) for text in texts]
        return Scored(torch.tensor(nll), torch.ones(len(nll), dtype=torch.long))

    monkeypatch.setattr(Model, "score", score)
    found = choosing_loss(model, triples())
    assert found == pytest.approx(math.log1p(math.exp(0.5 - 2.0)), rel=1e-5)
    assert {len(row.ids) - row.response for row in seen[0]} == {FIRST}
