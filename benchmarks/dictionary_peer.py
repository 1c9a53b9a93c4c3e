"""What another library makes of our dictionaries, in its own environment; benchmarks.dictionary_peers starts it.

It finds states, and folders that we wrote in `ours/`, and leaves `answers.npz`: its codes of the states and what it
makes of the codes. dictionary_learning leaves folders of its own classes in `theirs/` too. Nothing of the workbench is
imported.
"""

import json
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

N, K = 14, 3
"""Latents of their own dictionaries, and those that are active."""
CLASSES = {
    "AutoEncoder": ("dictionary", ()),
    "AutoEncoderNew": ("dictionary", ()),
    "GatedAutoEncoder": ("dictionary", ()),
    "JumpReluAutoEncoder": ("dictionary", ()),
    "AutoEncoderTopK": ("trainers.top_k", (K,)),
    "BatchTopKSAE": ("trainers.batch_top_k", (K,)),
    "MatryoshkaBatchTopKSAE": ("trainers.matryoshka_batch_top_k", (K, [4, 5, 5])),
}
"""The classes of dictionary_learning: where they are, and what they are made with beside widths."""
ROWS = {"decoder.weight": 0, "W_dec": 1}
"""The axis along which a latent's row lies."""
Answers = dict[str, torch.Tensor]


def saelens(folder: Path, x: torch.Tensor) -> Answers:
    """SAELens loads our folders; where heads are to be apart, it is given them apart."""
    from sae_lens.saes.sae import SAE  # pyright: ignore

    found: Answers = {}
    for place in sorted((folder / "ours").iterdir()):
        sae = SAE.load_from_disk(place)
        apart = sae.cfg.reshape_activations == "hook_z"
        codes = sae.encode(x.unflatten(1, (2, -1)) if apart else x)
        found[f"ours.{place.name}.codes"], found[f"ours.{place.name}.output"] = codes, sae.decode(codes).flatten(1)
    return found


def dictionary_learning(folder: Path, x: torch.Tensor) -> Answers:
    """dictionary_learning loads our folders, and saves dictionaries of each of its classes."""
    library = ModuleType("dictionary_learning")  # without its __init__, which imports nnsight for other things
    spec = find_spec("dictionary_learning")
    assert spec is not None
    library.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["dictionary_learning"] = library
    found: Answers = {}
    for name, (module, options) in CLASSES.items():
        kind = getattr(import_module(f"dictionary_learning.{module}"), name)
        place = folder / "theirs" / name
        place.mkdir(parents=True)
        save(kind(x.shape[1], N, *options), name, place)
        answer(found, f"theirs.{name}", kind.from_pretrained(place / "ae.pt"), x)
    for place in sorted((folder / "ours").iterdir()):
        name = json.loads((place / "config.json").read_text())["trainer"]["dict_class"]
        kind = getattr(import_module(f"dictionary_learning.{CLASSES[name][0]}"), name)
        answer(found, f"ours.{place.name}", kind.from_pretrained(place / "ae.pt"), x)
    return found


def answer(found: Answers, name: str, dictionary: Any, x: torch.Tensor) -> None:
    """Its codes of the states, and the states again."""
    found[f"{name}.output"], found[f"{name}.codes"] = dictionary(x, output_features=True)


def save(dictionary: Any, name: str, place: Path) -> None:
    """What its trainers write, of weights that favour nothing; rows have unit length where trainers keep them so."""
    generator, unit = torch.Generator().manual_seed(len(name)), name not in ("AutoEncoder", "AutoEncoderNew")
    state = dictionary.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            drawn = 0.5 * torch.randn(value.shape, generator=generator)
            if unit and key in ROWS:
                drawn /= drawn.norm(dim=ROWS[key], keepdim=True)
            value.copy_(drawn.abs() if key == "threshold" else drawn)
    torch.save(state, place / "ae.pt")
    trainer = {"dict_class": name, "layer": 1, "lm_name": "tiny", "submodule_name": "resid_post_layer_1"}
    (place / "config.json").write_text(json.dumps({"trainer": trainer}))


@torch.no_grad()
def main(name: str, folder: Path) -> None:
    torch.set_num_threads(1)
    x = torch.from_numpy(np.load(folder / "x.npy"))
    found = {"saelens": saelens, "dictionary_learning": dictionary_learning}[name](folder, x)
    arrays: Any = {key: value.detach().numpy() for key, value in found.items()}
    np.savez(folder / "answers.npz", **arrays)
    print(version({"saelens": "sae-lens"}.get(name, name)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
