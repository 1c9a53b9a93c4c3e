"""Sparse dictionaries of hidden states: architectures, training, evaluation. Needs the extra `jax`.

    stream = ActivationStream.from_model(model, texts, ReadSpec.at(model.site()), batch_size=2048)
    dictionary = train_dictionary(DictionaryConfig(n_latents=4608, k=32, n_steps=5000), stream, model=model)
    codes = dictionary.encode(states)
    quality = evaluate_dictionary(dictionary, held_out)

`train_dictionary` gives a `SparseAutoencoder`, an artifact like any other: torch tensors, saved as one file, loaded and
used without JAX. `train_dictionaries` trains several from one pass over the states. `Running` says where checkpoints
lie and how often they are written.
"""

from typing import TYPE_CHECKING

from workbench.registry import lazy

if TYPE_CHECKING:
    from probes.sae.baselines import pca_dictionary, random_dictionary
    from probes.sae.config import DictionaryConfig
    from probes.sae.evaluation import (
        agreement,
        evaluate_dictionary,
        nearest_cosine,
        replacement_loss,
        replacement_losses,
    )
    from probes.sae.source import stream_of
    from probes.sae.training import Running, train_crosscoder, train_dictionaries, train_dictionary

__all__ = [
    "DictionaryConfig",
    "Running",
    "agreement",
    "evaluate_dictionary",
    "nearest_cosine",
    "pca_dictionary",
    "random_dictionary",
    "replacement_loss",
    "replacement_losses",
    "stream_of",
    "train_crosscoder",
    "train_dictionaries",
    "train_dictionary",
]

__getattr__ = lazy(
    __name__,
    {
        "DictionaryConfig": "probes.sae.config:DictionaryConfig",
        "Running": "probes.sae.training:Running",
        "agreement": "probes.sae.evaluation:agreement",
        "evaluate_dictionary": "probes.sae.evaluation:evaluate_dictionary",
        "nearest_cosine": "probes.sae.evaluation:nearest_cosine",
        "pca_dictionary": "probes.sae.baselines:pca_dictionary",
        "random_dictionary": "probes.sae.baselines:random_dictionary",
        "replacement_loss": "probes.sae.evaluation:replacement_loss",
        "replacement_losses": "probes.sae.evaluation:replacement_losses",
        "stream_of": "probes.sae.source:stream_of",
        "train_crosscoder": "probes.sae.training:train_crosscoder",
        "train_dictionaries": "probes.sae.training:train_dictionaries",
        "train_dictionary": "probes.sae.training:train_dictionary",
    },
)
