"""A vector read through the vocabulary, and rebuilt from what is read there (arXiv:2310.15213, section 3.3)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.core import Core
from workbench.models.positions import Layout
from workbench.models.tokens import Row, Tokens
from workbench.models.training import frozen, run_from_layer


def vocabulary_logits(model: Core, vectors: Float[Tensor, "vector d"]) -> Float[Tensor, "vector vocab"]:
    """The logits that each vector would give as the output of the last block, in float32; differentiable.

    That is W_U norm(v), with what the model does to its logits.
    """
    rows = Tokens((Row((0,)),) * len(vectors))
    layout = Layout.of(rows, [*range(len(rows))]).to(model.device)
    states = vectors.to(model.device, model.dtype)[:, None]  # [vector, 1, d]
    with run_from_layer(model, model.n_layers - 1, states):
        return model.forward(layout).logits[:, 0].float()


@torch.no_grad()
def likeliest(model: Core, vector: Float[Tensor, "d"], n: int) -> Int[Tensor, "token"]:
    """The `n` likeliest tokens of a vector, the likeliest first."""
    return vocabulary_logits(model, vector[None])[0].topk(n).indices.cpu()


def reconstruct(
    model: Core,
    vector: Float[Tensor, "d"],
    *,
    top: int | None = None,
    steps: int = 1000,
    learning_rate: float = 0.5,
    seed: int = 0,
) -> Float[Tensor, "d"]:
    """Another vector that reads the same, from a random beginning: Adam on the cross-entropy with what `vector` reads.

    Over all tokens, or over the `top` likeliest ones alone, whose probabilities are then made to add up to 1. How well
    it does the task says whether what a vector reads is all that it carries. The norm in front of the unembedding
    hides a vector's length: the result is given that of `vector`.
    """
    with frozen(model):
        with torch.no_grad():
            goal = vocabulary_logits(model, vector[None])[0]
            kept = goal.topk(min(top or len(goal), len(goal))).indices
            wanted = goal[kept].softmax(0)
        start = torch.randn(len(vector), generator=torch.Generator().manual_seed(seed))
        rebuilt = start.to(model.device).requires_grad_()
        optimiser = torch.optim.Adam([rebuilt], lr=learning_rate)
        for _ in range(steps):
            optimiser.zero_grad()
            read = vocabulary_logits(model, rebuilt[None])[0][kept]
            torch.nn.functional.cross_entropy(read, wanted).backward()
            optimiser.step()
    found = rebuilt.detach().float().cpu()
    return found * (vector.norm() / found.norm())
