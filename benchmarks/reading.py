"""Reading the residual stream after every block: ours, plain PyTorch hooks, and TransformerLens' bridge.

python -m benchmarks.reading
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch

from benchmarks.timing import arguments, race, table
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens


def random_tokens(model: Model, n_rows: int, length: int) -> Tokens:
    """Rows of random ids: a forward pass costs the same whatever they say."""
    vocabulary = len(model.backend.embeddings().input)
    ids = torch.randint(100, vocabulary, (n_rows, length), generator=torch.Generator().manual_seed(0))
    return Tokens(tuple(Row(tuple(row)) for row in ids.tolist()))


@torch.no_grad()
def by_hand(model: Model, tokens: Tokens) -> dict[int, torch.Tensor]:
    """What a researcher writes without a library: a hook on every layer of the base model."""
    found: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            found[layer] = (output if isinstance(output, torch.Tensor) else output[0]).flatten(0, 1).clone()

        return hook

    base = model.module.model
    handles = [layer.register_forward_hook(keep(number)) for number, layer in enumerate(base.layers)]
    try:
        base(tokens.pad().ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


@torch.no_grad()
def through_bridge(model: Model, tokens: Tokens, names: set[str]) -> Any:
    """TransformerLens 4: run_with_cache with a names filter."""
    return model.bridge.run_with_cache(tokens.pad().ids, names_filter=lambda name: name in names)[1]


def all_layers(model: Model, tokens: Tokens, rounds: int) -> None:
    """Everything after every block, and the first eleven blocks only."""
    sites = [Site(layer) for layer in range(model.n_layers)]
    names = {str(site) for site in sites}
    contestants = {
        "workbench": lambda: model.read(tokens, sites, positions=ALL),
        "plain PyTorch hooks": lambda: by_hand(model, tokens),
        "TransformerLens bridge": lambda: through_bridge(model, tokens, names),
        "workbench, up to layer 10": lambda: model.read(tokens, sites[:11], positions=ALL),
    }
    times = race(contestants, rounds)
    table(f"read {len(sites)} layers, {model.dtype}", times, sum(tokens.lengths), "tokens", "workbench")
    share = times["workbench, up to layer 10"] / times["workbench"]
    print(f"  up to layer 10 costs {share:.2f} of all layers")


def resident() -> float:
    """Resident memory of this process in MiB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@contextmanager
def peak() -> Iterator[list[float]]:
    """The list holds the largest resident memory seen inside the `with`, looked at every two milliseconds."""
    found, done = [resident()], Event()

    def watch() -> None:
        while not done.wait(0.002):
            found[0] = max(found[0], resident())

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def pooled_memory(model: Model, lengths: list[int]) -> None:
    """The peak of resident memory beyond the model while reading more and more texts, pooled."""
    model.read(random_tokens(model, 4, 16), model.site(), pool="mean")
    for weight in model.backend.parameters().values():  # mapped from the file, and resident only once they are touched
        weight.sum()
    start = resident()
    for n_texts in lengths:
        with peak() as found:
            model.read(random_tokens(model, n_texts, 128), model.site(), pool="mean")
        print(f"  pooled reading of {n_texts} texts of 128 tokens: peak {found[0] - start:.0f} MiB beyond the model")


def main() -> None:
    chosen = arguments(__doc__ or "")
    for dtype in chosen.dtype:
        model = load(dtype=dtype)
        pooled_memory(model, [8] if chosen.smoke else [64, 256, 1024])
        tokens = random_tokens(model, 2, 16) if chosen.smoke else random_tokens(model, 8, 128)
        all_layers(model, tokens, chosen.rounds)


if __name__ == "__main__":
    main()
