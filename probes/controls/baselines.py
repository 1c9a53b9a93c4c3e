"""What a probe finds before the model has computed anything: with random weights, and in the embeddings alone."""

from collections.abc import Sequence

from workbench.models.activations import Activations
from workbench.models.model import Model
from workbench.models.pooling import Pool
from workbench.models.positions import CONTENT, Positions
from workbench.models.sites import Site
from workbench.models.tokens import Tokens

EMBEDDINGS = Site(0, "resid_pre")
"""What enters the first block: token embeddings, with whatever the architecture adds or scales before it."""


def random_model(model: Model, *, seed: int = 0) -> Model:
    """The same architecture with weights that its own initialisation (Hugging Face's) draws from `seed`.

    Precision, device and tokenizer are the model's; PyTorch's global generator is left as it was. Its embeddings are
    drawn too, so that words are told apart, but nothing that training taught is left (Conneau et al. 2018,
    arXiv:1805.01070).
    """
    backend = model.backend.randomised(seed)
    return Model(backend, model.tokenizer, f"{model.name} with random weights, seed {seed}", backend.digest())


def random_states(
    model: Model,
    tokens: Tokens | Sequence[str],
    sites: Sequence[Site | str] | Site | str,
    *,
    seed: int = 0,
    positions: Positions | str = CONTENT,
    pool: Pool | None = None,
) -> Activations:
    """The states [token, d] or [row, d] that `random_model` has at `sites`; arguments and errors as `Model.read`."""
    return random_model(model, seed=seed).read(tokens, sites, positions=positions, pool=pool)


def embedding_states(
    model: Model, tokens: Tokens | Sequence[str], *, positions: Positions | str = CONTENT, pool: Pool | None = None
) -> Activations:
    """The states [token, d] or [row, d] at EMBEDDINGS; with `pool="mean"` a bag of words. Errors as `Model.read`."""
    return model.read(tokens, EMBEDDINGS, positions=positions, pool=pool)
