"""Our dictionaries in SAELens and dictionary_learning, and the latter's here, on the same states.

python -m benchmarks.dictionary_peers --saelens path/to/env/bin/python --dictionary-learning path/to/env/bin/python

Each has an environment of its own: `pip install "torch<2.14" "transformer-lens<4" sae-lens==6.54.12`, and
`pip install "torch<2.14" numpy einops tqdm` with `pip install --no-deps dictionary-learning==0.1.0`. With `--save` the
folders and what was said of them are kept for the tests, in tests/exchange/oracles. What SAELens writes is kept by
benchmarks/sae_oracles.py.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from probes.sae.architectures import ARCHITECTURES
from probes.sae.config import DictionaryArchitecture, DictionaryConfig
from probes.sae.training import train_dictionary
from tests.artifacts.examples import normal
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.exchange.dictionaries import load_dictionary
from workbench.exchange.dictionary_learning import write_dictionary_learning
from workbench.exchange.saelens import write_saelens
from workbench.models.sites import Site

ROOT = Path(__file__).parents[1]
ORACLES = ROOT / "tests" / "exchange" / "oracles"
WRITERS = {"saelens": write_saelens, "dictionary_learning": write_dictionary_learning}
D, N, STEPS = 6, 14, 30
Answers = dict[str, Tensor]


def trained(x: Tensor) -> dict[str, SparseAutoencoder]:
    """A small dictionary of each architecture, at two sites, and of two kinds of transcoder."""
    base = DictionaryConfig(n_latents=N, k=3, n_steps=STEPS, site=Site(1), learning_rate=1e-2, threshold=0.3)
    prefixes: dict[DictionaryArchitecture, tuple[int, ...]] = {"matryoshka_batchtopk": (N // 2,)}
    made: dict[str, SparseAutoencoder] = {
        kind: train_dictionary(replace(base, architecture=kind, prefixes=prefixes.get(kind, ())), x)
        for kind in ARCHITECTURES
    }
    made["standard_z"] = replace(made["standard"], site=Site(1, "z"))
    for name in ("standard", "jumprelu"):
        one = made[name]
        made[f"{name}_transcoder"] = replace(
            one, target=Site(1, "mlp_out"), W_dec=one.W_dec[:, :4], b_dec=one.b_dec[:4]
        )
    return made


def ask(python: Path, name: str, folder: Path) -> tuple[str, Answers]:
    """The library's version and its answers. Raises RuntimeError with what it printed if it fails."""
    command = [str(python), str(ROOT / "benchmarks" / "dictionary_peer.py"), name, str(folder)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    with np.load(folder / "answers.npz") as file:
        return done.stdout.split()[-1], {key: torch.from_numpy(file[key]) for key in file}


def compare(name: str, python: Path, x: Tensor, save: bool) -> list[str]:
    """Rows of the table: each folder with the largest differences of codes and reconstructions."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "x.npy", x.numpy())
        for kind, dictionary in trained(normal(4 * len(x), D)).items():
            if name == "saelens" or dictionary.target is None:
                WRITERS[name](dictionary, folder / "ours" / kind)
        version, found = ask(python, name, folder)
        if save:
            kept = ORACLES / name
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("*.np?"))
            save_file({"x": x, **{key: value.contiguous() for key, value in found.items()}}, kept / "said.safetensors")
        return [row(f"{name} {version}", side, folder / side / kind, x, found) for side, kind in sides(found)]


def sides(found: Answers) -> list[tuple[str, str]]:
    """Who wrote a folder, and its name."""
    return [(side, kind) for side, kind, what in (key.split(".") for key in found) if what == "codes"]


def row(library: str, side: str, folder: Path, x: Tensor, found: Answers) -> str:
    """Of one folder, read here too."""
    dictionary = load_dictionary(folder)
    said = {what: found[f"{side}.{folder.name}.{what}"] for what in ("codes", "output")}
    here = {"codes": dictionary.encode(x), "output": dictionary.reconstruct(x)}
    apart = [f"{float((here[what] - said[what]).abs().max()):.1e}" for what in said]
    active = float((said["codes"] > 0).sum(1).float().mean())
    return f"| {' | '.join([library, side, folder.name, f'{active:.1f} of {dictionary.n_latents}', *apart])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saelens", type=Path, help="the Python of an environment that has sae-lens")
    parser.add_argument("--dictionary-learning", type=Path, help="the Python of one that has dictionary-learning")
    parser.add_argument("--save", action="store_true", help="keep folders and answers for the tests")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print("| library | written by | dictionary | active | codes: largest difference | reconstructions |")
    print("| :-- | :-- | :-- | --: | --: | --: |")
    for name, python in (("saelens", chosen.saelens), ("dictionary_learning", chosen.dictionary_learning)):
        if python is not None:
            print("\n".join(compare(name, python, normal(12, D, seed=1), chosen.save)), flush=True)


if __name__ == "__main__":
    main()
