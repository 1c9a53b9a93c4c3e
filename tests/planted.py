"""Labelled data with a known truth: what a method must find."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tests.tiny import tiny_module, tiny_tokenizer
from workbench.artifacts.artifact import Origin
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.data.dataset import Dataset
from workbench.data.items import Item, Relation, Target
from workbench.data.labelled import Labelled, ModelAccess
from workbench.data.states import States
from workbench.models.activations import Activations
from workbench.models.model import wrap
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site

D = 32
TOKENS = 6
CONCEPT = Target(name="planted", description="a planted concept", genre="text")


@cache
def through() -> ModelAccess:
    """A tiny model as wide as the planted states, for methods that are trained through one or read texts with it."""
    module = tiny_module("llama")
    module.config.max_position_embeddings = 1024  # room for the packaged neutral texts, a token a byte
    return ModelAccess(wrap(module, tiny_tokenizer(), "tiny-llama"))


def truth(seed: int = 0) -> Float[Tensor, "d"]:
    """The planted unit direction."""
    direction = torch.randn(D, generator=torch.Generator().manual_seed(100 + seed))
    return direction / direction.norm()


@cache
def dictionary_file() -> str:
    """A file with a dictionary that has the planted directions of two seeds, their opposites and 60 others."""
    others = torch.randn(60, D, generator=torch.Generator().manual_seed(9))
    rows = torch.cat([torch.stack([truth(0), -truth(0), truth(1), -truth(1)]), others / others.norm(dim=1)[:, None]])
    origin = Origin("planted", "{}", None, "tiny", "unknown", "0")
    zeros = torch.zeros(len(rows))
    dictionary = SparseAutoencoder(origin, Site(1), rows.T.contiguous(), zeros, rows, torch.zeros(D), zeros, k=16)
    return str(dictionary.save(Path(tempfile.mkdtemp()) / "dictionary.safetensors"))


@cache
def planted(seed: int = 0, n_rows: int = 60, shift: float = 3.0, *, held_out: bool = True) -> Labelled:
    """Texts of six tokens of unit noise; the tokens of every second text are shifted along `truth(seed)`.

    Their words tell them apart too, for methods that read words. Each shifted text and the one behind it are a pair.
    """
    generator = torch.Generator().manual_seed(seed)
    row = torch.arange(n_rows).repeat_interleave(TOKENS)
    y = row % 2 == 0
    x = torch.randn(len(row), D, generator=generator) + shift * y[:, None] * truth(seed)
    words = ("a planted flower grows", "nothing at all here")
    items = tuple(Item.exchange(f"question {seed} {i}", f"{words[i % 2]} {i}") for i in range(n_rows))
    rest = planted(seed + 1000, n_rows=20, shift=0.0, held_out=False) if held_out else None
    if rest is not None:
        moved = rest.x + shift * rest.y[:, None] * truth(seed)
        rest = Labelled(x=moved, y=rest.y, row=rest.row, target=CONCEPT, site=Site(1), items=rest.items)
    return Labelled(
        x=x,
        y=y,
        row=row,
        target=CONCEPT,
        site=Site(1),
        model="tiny",
        items=items,
        held_out=rest,
        through=through(),
        relations=(Relation("pair", ("positive", "negative"), np.arange(n_rows).reshape(-1, 2)),),
    )


def swapped(data: Labelled) -> Labelled:
    """The same states with positives and negatives exchanged."""
    held = None if data.held_out is None else swapped(data.held_out)
    return Labelled(
        x=data.x,
        y=~data.y,
        row=data.row,
        target=data.target,
        site=data.site,
        model=data.model,
        model_digest=data.model_digest,
        items=data.items,
        held_out=held,
        through=data.through,
        relations=tuple(Relation(one.name, one.roles[::-1], one.members) for one in data.relations),
    )


@cache
def concept_set() -> States:
    """Three planted concepts over shared negatives, with validation and evaluation splits."""
    generator = torch.Generator().manual_seed(5)
    concepts = tuple(Target(name=f"c{k}", description=f"concept {k}", genre="text") for k in range(3))
    items, labels, splits, states = [], [], [], []
    for split in ("train", "validation", "evaluation"):
        for kind in (-1, 0, 1, 2):
            for i in range(12):
                words = "plain words" if kind < 0 else f"special{kind} words"
                items.append(Item.exchange(f"ask {split} {kind} {i}", f"{words} {split} {kind} {i}"))
                labels.append([0, 0, 0] if kind < 0 else [1 if k == kind else -1 for k in range(3)])
                splits.append(split)
                shift = 0 if kind < 0 else 3 * truth(kind)
                states.append(torch.randn(TOKENS, D, generator=generator) + shift)
    place = np.arange(len(items)).reshape(3, 4, 12)  # split, kind and number of each item; kind 0 has no concept
    pairs = np.stack([place[:, 1:], np.broadcast_to(place[:, :1], (3, 3, 12))], -1).reshape(-1, 2)
    relations = (Relation("pair", ("positive", "negative"), pairs),)
    table = Dataset.of_labels(
        "planted set", items, concepts, np.array(labels, dtype=np.int8), splits, relations=relations
    )
    row = torch.arange(len(items)).repeat_interleave(TOKENS)
    read = Activations({Site(1): torch.cat(states)}, row, len(items))
    return States(table, read, ReadSpec((Site(1),)), "tiny", "0", through())
