"""What a model writes, and what it thinks of a text, under vectors that were optimised for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.artifacts.optimised_vectors import Injection, OptimisedVectors
from workbench.models.edits import Edit
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.sampling import Sampling
from workbench.models.scoring import label_logits, labels
from workbench.models.tokens import Tokens

BUDGET = 512
"""Padded tokens whose logits are in memory together."""


def decode(model: Model, place: Injection, edits: Sequence[Edit], lengths: Sequence[int]) -> list[tuple[int, ...]]:
    """The tokens that are written greedily from the opening under the edits, `lengths` of them in each row at most.

    Raises ValueError as `Model.generate`.
    """
    if not lengths:
        return []
    sampling = Sampling(max_new_tokens=max(lengths))
    written = model.generate(place.prompts(len(lengths)), edits=edits, sampling=sampling)
    return [each.ids[:length] for each, length in zip(written, lengths, strict=True)]


def decode_texts(model: Model, vectors: OptimisedVectors) -> list[str]:
    """What each row writes, as text. Raises ValueError for another model than that of the vectors, and as `decode`."""
    written = decode(model, vectors.injection, vectors.edits(), vectors.lengths)
    return [model.tokenizer.decode(each) for each in written]


@dataclass(frozen=True, eq=False)
class Recall:
    """What the model predicts of each text, token by token, when all earlier tokens are given."""

    correct: Int[Tensor, "row"]
    """Tokens that are the likeliest ones."""
    nll: Float[Tensor, "row"]
    """Summed over the text, in nats."""
    n_tokens: Int[Tensor, "row"]

    @property
    def accuracy(self) -> Float[Tensor, "row"]:
        """Share of tokens that are the likeliest ones, the first one counted."""
        return self.correct / self.n_tokens


@torch.no_grad()
def recall(model: Model, place: Injection, vectors: Float[Tensor, "row vector d"] | None, texts: Tokens) -> Recall:
    """How well each text is predicted behind the opening under the vectors of its row, or without any."""
    tokens = model.checked(place.rows(texts))
    correct, nll, n_tokens = torch.zeros(3, len(tokens))
    for rows in tokens.batches(BUDGET):
        layout = Layout.of(tokens[rows], [*range(len(rows))]).to(model.device)
        label, edits = labels(layout), () if vectors is None else place.edits(vectors[rows])
        with model.edited(edits):
            logits = label_logits(model, layout, label).float()
        wanted = layout.ids[:, 1:][label[:, 1:]]
        losses = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
        owner = torch.tensor(rows)[layout.rows[:, None].expand_as(label)[label].cpu()]
        correct.index_add_(0, owner, (logits.argmax(-1) == wanted).float().cpu())
        nll.index_add_(0, owner, losses.cpu())
        n_tokens.index_add_(0, owner, torch.ones(len(owner)))
    return Recall(correct.long(), nll, n_tokens.long())
