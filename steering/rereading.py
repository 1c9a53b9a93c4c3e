"""Methods that read the texts of their data anew: at other sites or tokens, or the prompts alone."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.artifacts.artifact import Artifact
from workbench.data.items import DataError, Item
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.capabilities import NeedsModel
from workbench.methods.method import Method
from workbench.models.activations import Activations
from workbench.models.conversation import USER, Conversation, Turn
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site

A = TypeVar("A", bound=Artifact)

Elsewhere = dict[Site, Labelled]
"""The data of one concept at each of several sites, its held-out data with it."""


@dataclass(frozen=True)
class RereadingMethod(Method[A], NeedsModel):
    """A method that says what it reads of the same texts (`rereads`) and fits on that (`fit_there`)."""

    constant_sites: ClassVar[Literal["refuse", "leave out"]] = "refuse"
    """What becomes of a site at which all texts are in the same state."""

    @abstractmethod
    def rereads(self, model: Model, site: Site) -> ReadSpec:
        """What is read of each text, for data at a site."""

    @abstractmethod
    def fit_there(self, data: Labelled, there: Elsewhere) -> A:
        """Fit one concept on the states that were read anew, a Labelled for each site."""

    def conversation(self, item: Item) -> Conversation:
        """What is read of an item: all of it."""
        return item.conversation

    @property
    def cost(self) -> float:
        """A forward pass over every text."""
        return 100.0

    def fit(self, data: Labelled) -> A:
        """Read and fit one concept. Raises DataError if the data do not carry texts and the live model."""
        return self._fit([data])[0]

    def fit_all(self, data: States) -> list[A]:
        """As `fit` for each concept; every text is read once."""
        return self._fit(list(data))

    def _fit(self, parts: Sequence[Labelled]) -> list[A]:
        return [self.fit_there(part, found) for part, found in zip(parts, self.reread(parts), strict=True)]

    def reread(self, parts: Sequence[Labelled]) -> list[Elsewhere]:
        """What `fit_there` takes for each concept. Raises DataError as `fit`."""
        model = live_model(parts[0], self.label)
        spec = self.rereads(model, parts[0].site)
        there = self._read(model, parts, spec)
        held = [part.held_out for part in parts if part.held_out is not None]
        validation = iter(self._read(model, held, spec) if held else ())
        for part, found in zip(parts, there, strict=True):
            if part.held_out is not None:
                unseen = next(validation)
                both = {site: replace(one, held_out=unseen[site]) for site, one in found.items() if site in unseen}
                found.clear()
                found.update(both)
        return there

    def _read(self, model: Model, parts: Sequence[Labelled], spec: ReadSpec) -> list[Elsewhere]:
        rows = torch.cat([part.row for part in parts]).unique()
        texts = [self.conversation(parts[0].items[row]) for row in rows.tolist()]
        read = model.read(model.encode(texts), spec)
        return [_part(part, read, rows[read.row], self.constant_sites) for part in parts]


def live_model(data: Labelled, method: str) -> Model:
    """The model that the data carry. Raises DataError if they carry none, or no texts, naming the method."""
    if data.through is None or not data.items:
        missing = "texts: give the data `items`" if data.through else "live model: give the data `through`"
        raise DataError(f"{method} of {data.name!r} needs the {missing}")
    return data.through.model


def prompt_of(item: Item) -> Conversation:
    """What the user asks in an item, without the answer. A bare text stands for itself."""
    if item.conversation.is_bare:
        return item.conversation
    return Conversation((Turn(USER, item.conversation.instruction),))


def _part(
    data: Labelled, read: Activations, row: Int[Tensor, "state"], constant: Literal["refuse", "leave out"]
) -> Elsewhere:
    """What one concept's Labelled has of states that belong to the items `row`."""
    mine = torch.isin(row, data.row)
    positive = torch.isin(row[mine], data.row[data.y])
    states = {site: read.x(site)[mine] for site in read.sites}
    varied = {site: x for site, x in states.items() if bool((x != x[:1]).any())} if constant == "leave out" else {}
    return {
        site: replace(data, x=x, y=positive, row=row[mine], site=site, held_out=None, others={})
        for site, x in (varied or states).items()
    }
