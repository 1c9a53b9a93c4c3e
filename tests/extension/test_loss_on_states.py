"""A loss on states: a LoRA moves one role's states from another's, and keeps what the model says of a third."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

import workbench as wb
from steering import Batch, Forward, Group, LoRA, MapObjective, TrainingConfig, train
from tests.tiny import tiny_model

SITES = (wb.Site(1), wb.Site(2))


@dataclass(frozen=True)
class Separate(MapObjective[wb.Dataset]):
    keep: float = 0.0

    def items(self, data: wb.Dataset) -> list[Group]:
        return [tuple(data.items[row] for row in rows) for rows in data.relation("triples").members]

    def loss(self, batch: Batch, forward: Forward) -> Tensor:
        mask = batch.layout.mask
        pooled = [wb.pool_rows(h[mask], mask.nonzero()[:, 0], len(h), "mean") for h in forward.states.values()]
        kept = self.keep * forward.nll / forward.n * (batch.role == 2)
        alike = torch.cosine_similarity(*(torch.stack([x[role::3] for x in pooled]) for role in (0, 1)), dim=-1).mean(0)
        return kept.index_add(0, (batch.role == 0).nonzero()[:, 0], alike) / batch.n_items


def test_one_role_moves_away_from_another_and_a_third_is_kept() -> None:
    balls = tuple(enumerate(("red", "blue", "old")))
    items = [wb.Item.exchange(f"ask {i} {role}", f"the {colour} ball {i}") for i in range(8) for role, colour in balls]
    triples = wb.Relation("triples", ("moved", "anchor", "kept"), np.arange(24).reshape(8, 3))
    model, data = tiny_model(), wb.Dataset("roles", tuple(items), relations=(triples,))
    roles = [model.encode(data.take(rows).conversations) for rows in triples.members.T]

    def measure() -> tuple[Tensor, float]:
        read = [model.read(role, wb.ReadSpec.at(*SITES, positions="all", pool="mean")) for role in roles[:2]]
        alike = [torch.cosine_similarity(*(one.x(site) for one in read), dim=-1).mean() for site in SITES]
        return torch.stack(alike), float(model.score(roles[2]).nll.mean())

    method = LoRA(layers=(0, 1), of_layers=3, dropout=0.0, recipe=TrainingConfig(10, 4, learning_rate=0.02))
    found = {-1.0: measure()}
    for keep in (0.1, 0.0):
        objective = replace(Separate.on(model, method), keep=keep, observes=SITES)
        leaves = train(objective, [data], wb.ModelAccess(model))[0].parameters
        with model.edited([wb.LowRankMap(site=s, strength=16.0, down=a, up=b) for s, a, b in objective.maps(leaves)]):
            found[keep] = measure()
    assert all(bool((found[keep][0] < found[-1.0][0] - 0.1).all()) for keep in (0.1, 0.0))
    assert found[0.1][1] < found[-1.0][1] + 0.05 < found[0.0][1]
