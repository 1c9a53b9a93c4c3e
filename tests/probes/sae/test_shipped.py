"""The dictionary that comes with the workbench, of the default model at its default layer."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from steering.methods.sae import SAE
from tests.data.sets import few
from workbench.data.named import dataset
from workbench.data.states import States
from workbench.exchange.dictionaries import SHIPPED, load_dictionary
from workbench.models.load import DEFAULT

FILE = Path(str(files("probes.sae") / "shipped" / SHIPPED[DEFAULT]))


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads(FILE.with_suffix(".json").read_text())


def test_it_is_of_the_default_model_at_its_default_layer(default_model):
    dictionary = load_dictionary(DEFAULT)
    assert dictionary.site == default_model.site()
    assert dictionary.origin.model_digest == default_model.digest
    assert dictionary.d_in == default_model.d_model
    assert dictionary.n_latents == 8 * dictionary.d_in
    assert dictionary.W_enc.dtype == torch.float16
    assert FILE.stat().st_size < 12e6


def test_its_record_says_that_it_beats_what_learnt_nothing(record):
    trained, *rivals = (record["held_out"][name] for name in ("trained", "pca", "random"))
    for rival in rivals:
        assert trained["explained_variance"] > rival["explained_variance"]
        assert trained["recovered"] > rival["recovered"]


def test_it_explains_states_that_it_was_not_trained_on(default_model, record):
    """Of texts of another kind than its own: at least half of their variance."""
    texts = [item.response for item in dataset("packaged", 2).items[:24]]
    x = default_model.read(default_model.tokenize(texts), default_model.site()).x(default_model.site()).float()
    x = x[x.norm(dim=1) <= 10 * x.norm(dim=1).median()]
    dictionary = load_dictionary(DEFAULT, default_model)
    left = (x - dictionary.reconstruct(x)).square().sum() / (x - x.mean(0)).square().sum()
    assert 1 - float(left) > 0.5
    assert int((dictionary.encode(x) > 0).sum(1).max()) <= record["config"]["k"]


def test_a_latent_of_it_reads_and_steers_the_default_model(default_model):
    data = States.read(few(dataset("packaged", 1), 6), default_model)
    (latent,) = SAE().fit_all(data)
    (edit,) = SAE().edit(latent, 1.0)
    prompt = default_model.tokenize(["The best thing about it is"], chat=False)
    plain = default_model.next_logits(prompt)
    with default_model.edited(edit):
        assert not torch.equal(default_model.next_logits(prompt), plain)
