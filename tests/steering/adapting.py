"""Four concepts told by their texts, read from a tiny model: what trained adapters are tested on."""

from typing import Any

import numpy as np
import torch

from steering.training.objective import TrainingConfig
from steering.training.texts import texts
from workbench.data.dataset import Dataset
from workbench.data.items import Item, Target
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.models.model import Model
from workbench.models.tokens import Row, Tokens

WORDS = ("sea waves", "hot oven", "red fox", "old clock")


def concept_texts(model: Model, n: int = 3, concepts: int = 4) -> States:
    """`concepts` concepts with `n` positive texts each, of different lengths, and `n` shared negatives a split."""
    items, labels, splits = [], [], []
    for split in ("train", "validation", "evaluation"):
        for kind in range(-1, concepts):
            for i in range(n):
                words = "plain" if kind < 0 else WORDS[kind]
                items.append(Item.exchange(f"ask {split} {kind}{'?' * (i + 1)}", f"{words} {split[0]}{kind}{i}"))
                splits.append(split)
                labels.append([0 if kind < 0 else 1 if k == kind else -1 for k in range(concepts)])
    names = tuple(Target(WORDS[k].replace(" ", "-"), WORDS[k], "text") for k in range(concepts))
    return States.read(Dataset.of_labels("words", items, names, np.array(labels, dtype=np.int8), splits), model)


def without_cache(model: Model, prompts: Tokens, n: int) -> list[tuple[int, ...]]:
    """The likeliest `n` tokens after each prompt, each from a whole forward pass over everything before it."""
    rows = list(prompts)
    for _ in range(n):
        longer = model.logits(Tokens(tuple(rows)))
        rows = [
            Row((*row.ids, int(logits[-1].argmax())), row.prefix, row.response)
            for row, logits in zip(rows, longer, strict=True)
        ]
    return [row.ids[len(prompt.ids) :] for row, prompt in zip(rows, prompts, strict=True)]


def positive(data: Labelled) -> tuple[list[str], list[str]]:
    """Instructions and responses of the texts that carry the concept."""
    found = texts(data, True)
    return [text.instruction for text in found], [text.response for text in found]


def by_hand(module: Any, weights: list[Any], tokens: Tokens, recipe: TrainingConfig) -> list[float]:
    """Train the weights of a module row by row, every text in every step; the loss of each step."""
    optimizer, losses = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0), []
    for step in range(recipe.epochs):
        nll, n = torch.zeros(()), 0
        for row in tokens:
            logits = module(input_ids=torch.tensor([row.ids])).logits[0, row.response - 1 : -1]
            target = torch.tensor(row.ids[row.response :])
            nll, n = nll + torch.nn.functional.cross_entropy(logits, target, reduction="sum"), n + len(target)
        (nll / n).backward()
        torch.nn.utils.clip_grad_norm_(weights, recipe.clip)
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * (1 - step / recipe.epochs)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(nll.detach() / n))
    return losses
