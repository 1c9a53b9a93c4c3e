"""What other programs said of our vectors, and left of theirs.

`python -m benchmarks.exchange_peers` and `python -m benchmarks.llama_cpp` ask them, with `--save`.
"""

from types import SimpleNamespace

import pytest
import torch

from benchmarks.exchange_peers import ORACLES, last_logits, peers_vectors
from tests.exchange.peers_model import llama_cpp_model, peers_model
from workbench.exchange.steering_objects import from_repeng, from_steering_vectors
from workbench.exchange.vector_files import read_vector
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.files import read_json

LIBRARIES = {"repeng": "repeng.gguf", "steering_vectors": "steering_vectors.npz"}


@pytest.fixture(scope="module")
def peers() -> Model:
    return peers_model()


@pytest.mark.parametrize("name", LIBRARIES)
def test_their_logits_under_our_vector_are_peers_vectors(peers: Model, name: str):
    logits = torch.tensor(read_json(ORACLES / f"{name}.json")["logits"])
    torch.testing.assert_close(
        last_logits(peers, peers_vectors(peers)), logits, atol=1e-4, rtol=0
    )  # float32, other kernels
    assert (last_logits(peers, peers_vectors(peers), -1) - logits).abs().max() > 1


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_vector_that_they_trained_is_read_bit_by_bit(peers: Model, name: str):
    trained = {int(k): torch.tensor(v) for k, v in read_json(ORACLES / f"{name}.json")["directions"].items()}
    objects = {
        "repeng": lambda: from_repeng(SimpleNamespace(directions=trained), peers, "sea"),
        "steering_vectors": lambda: from_steering_vectors(
            SimpleNamespace(layer_activations=trained, layer_type="decoder_block"), peers, "sea"
        ),
    }
    for vectors in (read_vector(ORACLES / LIBRARIES[name], peers, "sea"), objects[name]()):
        assert vectors.sites == tuple(map(Site, sorted(trained)))
        assert all(torch.equal(vectors[Site(layer)].direction, v) for layer, v in trained.items())


def test_llama_cpps_log_probabilities_under_our_vector_are_ours():
    model = llama_cpp_model()
    theirs = torch.tensor(read_json(ORACLES / "llama_cpp.json")["log_probabilities"])
    apart = [
        float((last_logits(model, peers_vectors(model), shift).log_softmax(0) - theirs).abs().max())
        for shift in (0, -1, 1)
    ]
    assert apart[0] < 0.02  # llama.cpp keeps keys and values in half precision
    assert min(apart[1:]) > 1
