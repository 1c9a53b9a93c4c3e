"""What a probe finds before the model has computed anything: with random weights, and in the embeddings alone."""

from workbench.models.model import Model
from workbench.models.sites import Site

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
