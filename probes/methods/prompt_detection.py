"""Asking the model itself whether a text carries a concept (AxBench's prompt baseline, arXiv:2501.17148)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.artifacts.prompt import Prompt
from workbench.data.items import DataError, Item
from workbench.data.labelled import Labelled, ModelAccess
from workbench.evaluation.judges import rubric
from workbench.evaluation.judges.base import JudgedText
from workbench.methods.capabilities import NeedsModel, ScoresTexts
from workbench.methods.method import Method
from workbench.models.encoding import encode, encode_chat
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.positions import Layout
from workbench.models.sampling import Sampling
from workbench.models.scoring import label_logits, labels
from workbench.models.tokens import Row, Tokens
from workbench.runs.fields import at_least, readable

log = logging.getLogger(__name__)


def _with_both(question: str) -> None:
    """Raises ValueError for a question that leaves out what it is about: it would be the same for all texts."""
    if missing := [place for place in ("{text}", "{concept}") if place not in question]:
        raise ValueError(f"it lacks {' and '.join(missing)}")


@dataclass(frozen=True)
class PromptDetection(Method[Prompt], ScoresTexts[Prompt], NeedsModel):
    """Nothing is fitted: the model reads a text's response and says whether the concept's description is met.

    `fixed` scores the log-odds of Yes against No as the next token: one pass, and no answer that cannot be read.
    `compat` does as published: the model writes a rating from 0 to 2 under the judges' rubric, and a missing rating
    counts -1. The artifact holds the concept's description.
    """

    label: ClassVar[str] = "Prompt detection"
    source: ClassVar[str] = "arXiv:2501.17148"

    form: Literal["fixed", "compat"] = "fixed"
    question: Annotated[str, readable(_with_both)] = (
        "Text:\n{text}\n\nDoes this text contain {concept}? Answer Yes or No."
    )
    """What `fixed` asks; a model without a chat template sees "Answer:" behind it."""
    max_new_tokens: Annotated[int, at_least(1)] = 512
    """Room for the reasoning and the rating in `compat`."""

    @property
    def title(self) -> str:
        """Says so where the published way is kept."""
        return self.label if self.form == "fixed" else f"{self.label} (as published)"

    def fit(self, data: Labelled) -> Prompt:
        """The concept's description."""
        return Prompt(self.origin(data), data.target.description)

    def detect_texts(
        self, artifact: Prompt, texts: Sequence[Item], through: ModelAccess | None = None
    ) -> Float[Tensor, "text"]:
        """The log-odds, or the rating, of each text.

        Raises DataError without the live model; in the form `fixed`, ValueError for a text that the model's context
        has no room for, and for a tokenizer in which Yes and No begin alike.
        """
        if through is None:
            raise DataError(f"asking about {artifact.origin.label!r} needs the live model: pass `through`")
        if self.form == "fixed":
            return self._log_odds(artifact, texts, through.model)
        found = self.ratings(artifact, texts, through.model)
        missing = int(found.isnan().sum())
        if missing:
            log.warning("%r: %d of %d texts got no rating; they score -1", artifact.origin.label, missing, len(texts))
        return found.nan_to_num(nan=-1.0)

    def ratings(self, artifact: Prompt, texts: Sequence[Item], model: Model) -> Float[Tensor, "text"]:
        """What the model rates each text under the judges' rubric, greedily: 0, 1 or 2; NaN where it gives no rating.

        A text that the model's context has no room for gets none.
        """
        asked = [_rubric(artifact, text) for text in texts]
        tokens = (encode_chat if model.tokenizer.chat_template else encode)(model.tokenizer, asked)
        room = (model.context or torch.inf) - self.max_new_tokens
        fitting = [row for row, length in enumerate(tokens.lengths) if length <= room]
        found = torch.full((len(texts),), torch.nan)
        if fitting:
            replies = model.generate(tokens[fitting], sampling=Sampling(max_new_tokens=self.max_new_tokens))
            found[fitting] = torch.tensor([_rating(reply.text) for reply in replies])
        return found

    @torch.no_grad()
    def _log_odds(self, artifact: Prompt, texts: Sequence[Item], model: Model) -> Float[Tensor, "text"]:
        yes, no = answers(model.tokenizer)
        asked = [self.question.format(text=text.response, concept=artifact.text) for text in texts]
        tokens, found = _answered(model, asked), torch.empty(len(texts))
        for rows in tokens.batches(TOKEN_BUDGET):
            layout = Layout.of(tokens, rows).to(model.device)
            logits = label_logits(model, layout, labels(layout)).float()  # [row, vocab]
            found[rows] = (logits[:, yes].logsumexp(1) - logits[:, no].logsumexp(1)).cpu()
        return found


def answers(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that begin Yes and those that begin No, in any case, with and without a space in front.

    Tokens that begin both are left out. Raises ValueError if nothing is left of one of them.
    """
    yes, no = (_first(tokenizer, word) for word in ("Yes", "No"))
    if yes <= no or no <= yes:
        raise ValueError(
            "Yes and No begin with the same tokens in this tokenizer; the next token cannot tell them apart"
        )
    return sorted(yes - no), sorted(no - yes)


def _first(tokenizer: Any, word: str) -> set[int]:
    spelled = (space + form for space in ("", " ") for form in (word, word.lower(), word.upper()))
    return {tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in spelled}


def _answered(model: Model, asked: Sequence[str]) -> Tokens:
    """Each question with one token of an answer behind it, whose likelihood is what is looked at."""
    if not model.tokenizer.chat_template:
        asked = [f"{question}\nAnswer:" for question in asked]
    whole = model.tokenize(asked, ["Yes"] * len(asked))
    return Tokens(tuple(Row(row.ids[: row.response + 1], row.prefix, row.response) for row in whole))


def _rubric(artifact: Prompt, text: Item) -> str:
    """The judges' question about the concept in a text."""
    item = JudgedText(artifact.origin.label, artifact.text, text.instruction, text.response, perplexity=torch.nan)
    return rubric.prompts(item)[0]


def _rating(reply: str) -> float:
    try:
        return rubric.parse_rating(reply)
    except ValueError:
        return torch.nan
