"""What another project's library makes of our files, in its own environment; benchmarks.exchange_peers starts it.

It finds `model/` and our directions in a folder, and leaves `answers.npz` there: the directions that it read, the
logits under them, and directions that it trained. Nothing of the workbench is imported.
"""

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

PAIRS = [("the sea", "the hill"), ("a wave", "a stone"), ("salt water", "dry land"), ("a ship", "a cart")]
LAYERS = [1, 2]


def load(folder: Path) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    model = transformers.LlamaForCausalLM.from_pretrained(folder / "model", attn_implementation="eager").eval()
    file = str(folder / "model" / "tokenizer.json")
    return model, transformers.PreTrainedTokenizerFast(tokenizer_file=file, pad_token="<pad>", padding_side="right")


def last_logits(run: Any, ids: list[int]) -> np.ndarray:
    """Of the token after these."""
    with torch.no_grad():
        return run(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()


def repeng(folder: Path, ids: list[int], coefficient: float) -> Mapping[str, np.ndarray]:
    """repeng reads our GGUF file, applies it, trains a vector and writes it as `theirs.gguf`."""
    library = import_module("repeng")
    model, tokenizer = load(folder)
    entries = [library.DatasetEntry(*pair) for pair in PAIRS]
    trained = library.ControlVector.train(model, tokenizer, entries, hidden_layers=LAYERS, method="pca_center")
    trained.export_gguf(folder / "theirs.gguf")
    found = library.ControlVector.import_gguf(folder / "ours.gguf")
    control = library.ControlModel(model, [*found.directions])
    control.set_control(found, coefficient)
    return answers(found.directions, last_logits(control, ids), trained.directions)


def steering_vectors(folder: Path, ids: list[int], coefficient: float) -> Mapping[str, np.ndarray]:
    """steering-vectors is given the fields of its class, applies them, and trains a vector."""
    library = import_module("steering_vectors")
    model, tokenizer = load(folder)
    trained = library.train_steering_vector(model, tokenizer, PAIRS, layers=LAYERS, show_progress=False)
    with np.load(folder / "fields.npz") as file:
        fields = {int(name): torch.from_numpy(file[name]) for name in file}
    found = library.SteeringVector(layer_activations=fields, layer_type="decoder_block")
    with found.apply(model, multiplier=coefficient):
        logits = last_logits(model, ids)
    arrays: Any = {str(layer): direction.numpy() for layer, direction in trained.layer_activations.items()}
    np.savez(folder / "theirs.npz", **arrays)
    return answers(found.layer_activations, logits, trained.layer_activations)


def answers(read: Mapping[int, Any], logits: np.ndarray, trained: Mapping[int, Any]) -> Mapping[str, np.ndarray]:
    """What is kept, by name."""
    named = {f"read.{layer}": array for layer, array in read.items()}
    named |= {f"trained.{layer}": array for layer, array in trained.items()}
    return {"logits": logits} | {name: np.asarray(array, dtype=np.float32) for name, array in named.items()}


if __name__ == "__main__":
    place, (name, tokens, strength) = Path(sys.argv[1]), json.loads(sys.argv[2])
    found = {"repeng": repeng, "steering-vectors": steering_vectors}[name](place, tokens, strength)
    np.savez(place / "answers.npz", **dict[str, Any](found))
    print(version(name))
