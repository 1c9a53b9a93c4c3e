"""Activation addition (Turner et al. 2023, arXiv:2308.10248, algorithm 1): two prompts' difference, token by token."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from steering.rereading import live_model
from workbench.artifacts.position_vectors import PositionVectors
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import NeedsModel, Steers
from workbench.methods.method import Method
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.runs.fields import ANY_NUMBER


@dataclass(frozen=True)
class ActAdd(Method[PositionVectors], Steers[PositionVectors], NeedsModel):
    """h(positive) - h(negative) at the input of a block, added to the prompt's first tokens when it is read.

    The shorter of the two is filled up with spaces to as many tokens. They stand where the user's text stands, behind
    BOS and chat header, and so does what is added: published are models without header, whose BOS has no difference.
    """

    label: ClassVar[str] = "ActAdd"
    source: ClassVar[str] = "arXiv:2308.10248"

    positive: str = ""
    """By default the description of the concept."""
    negative: str = ""
    """By default spaces only."""
    coefficient: Annotated[float, ANY_NUMBER] = 5.0
    """What strength 1 multiplies the difference with; published are 1 to 15."""

    def fit(self, data: Labelled) -> PositionVectors:
        """Of the data only the name of the concept counts, and the site: the block whose input is read and written.

        Raises DataError if the data do not carry the live model, and for two prompts that are the same.
        """
        model, site = live_model(data, self.label), Site(data.site.layer, "resid_pre")
        ids = [_text_ids(model, text) for text in (self.positive or data.target.description, self.negative)]
        longest = max(len(one.ids) for one in ids)
        space = model.tokenizer(" ", add_special_tokens=False)["input_ids"][-1]
        rows = tuple(Row((*one.ids, *[space] * (longest - len(one.ids))), one.prefix) for one in ids)
        if rows[0] == rows[1]:
            raise DataError(f"{self.label} of {data.name!r}: the two prompts are the same; give two that differ")
        states = model.read(Tokens(rows), site, positions="prompt").x(site)  # [2 position, d]
        difference = states[: len(states) // 2] - states[len(states) // 2 :]
        return PositionVectors(self.origin(data), site, difference, self.coefficient)

    def edit(self, artifact: PositionVectors, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """An addition at each of the prompt's first tokens; these are its own, whatever `positions` say."""
        return artifact.edits(strength)


def _text_ids(model: Model, text: str) -> Row:
    """A text where the user's text stands, without what the chat template puts behind it."""
    chat = bool(model.tokenizer.chat_template)
    whole, *others = model.tokenize([text or "x", "x", "y"], chat=chat)
    ending = 0
    while len({row.ids[-1 - ending] for row in others}) == 1:
        ending += 1
    return Row(whole.ids[: whole.prefix] if not text else whole.ids[: len(whole.ids) - ending], whole.prefix)
