"""Our vectors in repeng and steering-vectors, and theirs here, on one tiny model.

python -m benchmarks.exchange_peers --repeng path/to/env/bin/python --steering-vectors path/to/env/bin/python

Each has an environment of its own: `pip install repeng "numpy<2" "torch<2.14"`, and `pip install steering-vectors
"transformers<5" "torch<2.14"`. With `--save` what they say is kept for the tests, in tests/exchange/oracles.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tests.artifacts.examples import ORIGIN, normal
from tests.exchange.peers_model import COEFFICIENT, IDS, peers_model
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.exchange.steering_objects import from_repeng, from_steering_vectors, steering_vectors_fields
from workbench.exchange.vector_files import read_vector, write_vector
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.runs.files import write_json

ROOT = Path(__file__).parents[1]
ORACLES = ROOT / "tests" / "exchange" / "oracles"


def peers_vectors(model: Model) -> LayerVectors:
    """A vector for two blocks that is long enough to be seen in the logits."""
    parts = (Vector(ORIGIN, Site(1), normal(model.d_model)), Vector(ORIGIN, Site(2), normal(model.d_model, seed=1)))
    return LayerVectors(ORIGIN, parts).adopt(model.name, model.digest)


def last_logits(model: Model, vectors: LayerVectors, shift: int = 0) -> torch.Tensor:
    """Under the vectors, each added `shift` blocks above its own."""
    moved = [Vector(v.origin, Site(v.site.layer + shift), v.direction).edit(COEFFICIENT) for v in vectors.vectors]
    with model.edited(moved):
        return model.next_logits(Tokens((Row(tuple(IDS)),)))[0]


def prepare(model: Model, folder: Path) -> None:
    """The model and our vector, as files that the libraries read."""
    model.module.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    write_vector(peers_vectors(model), model, folder / "ours.gguf")
    fields: Any = {
        str(k): v.numpy() for k, v in steering_vectors_fields(peers_vectors(model), model)["layer_activations"].items()
    }
    np.savez(folder / "fields.npz", **fields)


def ask(python: Path, name: str, folder: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """The library's version and what it leaves. Raises RuntimeError with what it printed if it fails."""
    script = ROOT / "benchmarks" / "exchange_peer.py"
    command = [str(python), str(script), str(folder), json.dumps([name, IDS, COEFFICIENT])]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    with np.load(folder / "answers.npz") as file:
        return done.stdout.split()[-1], {key: torch.from_numpy(file[key]) for key in file}


def taken(name: str, file: Path, directions: dict[int, torch.Tensor], model: Model) -> bool:
    """Whether a trained vector is the same here from its file, from the object, and as it is."""
    if name == "repeng":
        from_object = from_repeng(SimpleNamespace(directions=directions), model, "sea")
    else:
        fields = SimpleNamespace(layer_activations=directions, layer_type="decoder_block")
        from_object = from_steering_vectors(fields, model, "sea")
    both = (from_object, read_vector(file, model, "sea"))
    return all(torch.equal(one[Site(layer)].direction, v) for one in both for layer, v in directions.items())


def compare(name: str, python: Path, file: str, save: bool) -> str:
    """A row of the table; what the library says is kept for the tests, if that is asked for."""
    model = peers_model()
    vectors = peers_vectors(model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(model, folder)
        version, found = ask(python, name, folder)
        trained = {int(key.rpartition(".")[2]): array for key, array in found.items() if key.startswith("trained")}
        if save:
            kept = name.replace("-", "_")
            shutil.copy(folder / file, ORACLES / f"{kept}{Path(file).suffix}")
            directions = {str(layer): array.tolist() for layer, array in trained.items()}
            oracle = {"version": version, "logits": found["logits"].tolist(), "directions": directions}
            write_json(ORACLES / f"{kept}.json", oracle)
        read = all(torch.equal(found[f"read.{v.site.layer}"], v.direction) for v in vectors.vectors)
        apart = [float((last_logits(model, vectors, n) - found["logits"]).abs().max()) for n in (0, -1)]
        cells = (f"{name} {version}", _equal(read), f"{apart[0]:.1e}", f"{apart[1]:.1f}")
        return f"| {' | '.join(cells)} | {_equal(taken(name, folder / file, trained, model))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeng", type=Path, help="the Python of an environment that has repeng")
    parser.add_argument("--steering-vectors", type=Path, help="the Python of one that has steering-vectors")
    parser.add_argument("--save", action="store_true", help="keep what they say for the tests")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print("| library | our directions there | logits under them: largest difference | a block below | theirs here |")
    print("| :-- | :-- | --: | --: | :-- |")
    peers = {"repeng": (chosen.repeng, "theirs.gguf"), "steering-vectors": (chosen.steering_vectors, "theirs.npz")}
    for name, (python, file) in peers.items():
        if python is not None:
            print(compare(name, python, file, chosen.save), flush=True)


def _equal(holds: bool) -> str:
    return "bit-equal" if holds else "not equal"


if __name__ == "__main__":
    main()
