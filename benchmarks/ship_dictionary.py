"""Trains the dictionary that is shipped for the default model, and writes it with its record.

python -m benchmarks.ship_dictionary --work FOLDER --prose state_union.txt inaugural.txt subjectivity.txt

A quarter of the text is docstrings of the installed standard library, a quarter its sources (PSF licence); the other
half are plain text files, which must be such that what is derived from them may be shipped. Each piece of text is read
once, by the default model at its default layer; training takes the states in random order, epoch after epoch. What is
done stays in FOLDER: the same command goes on where it was stopped.
"""

import argparse
import ast
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch

from probes.sae.baselines import pca_dictionary, random_dictionary
from probes.sae.config import DictionaryConfig
from probes.sae.evaluation import evaluate_dictionary, replacement_loss
from probes.sae.source import longest_usual
from probes.sae.training import Running, train_dictionary
from workbench.data.running_text import library_sources, passages
from workbench.data.store import mapped
from workbench.data.stream import ActivationStream
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.tokens import Tokens
from workbench.runs.environment import code_version
from workbench.runs.files import digest

SHIPPED = Path("probes/sae/shipped")
PIECE = 500
"""Characters of a piece of text at most, about 120 tokens."""
HELD_OUT = 50
"""Every so many pieces, one is kept for the evaluation."""


def docstrings(source: str) -> Iterator[str]:
    """The docstrings of a module, its classes and functions; none of what is no Python, such as a template."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(tree) if isinstance(node, kinds))
    yield from (found for node in nodes if (found := ast.get_docstring(node)))


def library() -> list[str]:
    """The modules of the standard library, in random order."""
    modules = list(library_sources())
    return [modules[number] for number in np.random.default_rng(0).permutation(len(modules))]


def enough(model: Model, texts: Iterable[str], n_tokens: int) -> list[str]:
    """Different pieces with so many tokens, or all."""
    found: dict[str, None] = {}
    total = 0
    for piece in (piece for text in texts for piece in passages(text, PIECE)):
        if total >= n_tokens:
            break
        if piece not in found:
            found[piece] = None
            total += model.tokenize([piece]).lengths[0]
    return list(found)


def corpus(model: Model, prose: Sequence[Path], n_tokens: int) -> tuple[list[str], list[str], dict[str, int]]:
    """Pieces to train on, pieces to evaluate on, and how many tokens come from where."""
    modules = library()
    documented = ("\n\n".join(docstrings(source)) for source in modules)
    parts = {
        "docstrings of the standard library": enough(model, documented, n_tokens // 4),
        "sources of the standard library": enough(model, modules, n_tokens // 4),
    }
    for path in prose:
        parts[path.stem] = enough(model, [path.read_text()], n_tokens // 2 // len(prose))
    every = [piece for part in parts.values() for piece in part]
    order = np.random.default_rng(0).permutation(len(every))
    mixed = [every[number] for number in order]
    held_out = mixed[::HELD_OUT]
    kept = set(held_out)
    counts = {name: sum(model.tokenize(part).lengths) for name, part in parts.items()}
    return [piece for piece in mixed if piece not in kept], held_out, counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--prose", type=Path, nargs="+", required=True)
    parser.add_argument("--tokens", type=int, default=1_400_000)
    parser.add_argument("--activations", type=int, default=10_000_000)
    parser.add_argument("--hardware", default="")
    arguments = parser.parse_args()

    model = load()
    site = model.site()
    train, held_out, counts = corpus(model, arguments.prose, arguments.tokens)
    print(f"{len(train)} pieces to train on, {len(held_out)} held out; tokens: {counts}", flush=True)
    states, spec = arguments.work / "states", ReadSpec((site,))
    tokens = model.tokenize(train)
    stream = _stream(model, tokens, spec, states)
    n_steps = arguments.activations // stream.batch_size
    config = DictionaryConfig(
        n_latents=8 * model.d_model, k=32, n_steps=n_steps, learning_rate=1e-3, warmup_steps=100,
        decay_steps=n_steps // 3, site=site,
    )  # fmt: skip
    curve: list[dict[str, float]] = []
    begun, cpu = perf_counter(), process_time()
    dictionary = train_dictionary(
        config, stream, model=model, data=digest(train),
        running=Running(arguments.work / "checkpoints", checkpoint_every=200, log_every=100),
        on_log=lambda _, step, values: curve.append({"step": step, **values}),
    )  # fmt: skip
    took = {"seconds": round(perf_counter() - begun), "cpu_seconds": round(process_time() - cpu)}
    dictionary = dictionary.to_dtype(torch.float16)

    x = model.read(model.tokenize(held_out), spec).x(site)
    x = x[x.norm(dim=1) <= longest_usual(x.norm(dim=1))]
    seen = torch.cat([batch.x(site) for batch in islice(stream.batches(), 8)])
    seen = seen[seen.norm(dim=1) <= longest_usual(seen.norm(dim=1))]
    about = {"site": site, "k": config.k, "origin": dictionary.origin}
    rivals = {
        "trained": dictionary,
        "pca": pca_dictionary(seen, **about),
        "random": random_dictionary(seen, **about, n_latents=config.n_latents),
    }
    quality = {}
    for name, one in rivals.items():
        found = evaluate_dictionary(one, x)
        loss = replacement_loss(one, model, held_out[:100])
        quality[name] = {
            "l0": found.l0, "explained_variance": found.explained_variance, "dead_share": found.dead_share,
            "dense_share": found.dense_share(), "recovered": loss.recovered, "kl_per_token": loss.kl_per_token,
        }  # fmt: skip
        print(name, quality[name], flush=True)
    path = SHIPPED / f"{model.name}-{site}.safetensors"
    dictionary.save(path)
    record = {
        "model": model.name, "site": str(site), "config": asdict(config) | {"site": str(site)},
        "distinct_activations": stream.n_states, "activations": n_steps * stream.batch_size, "tokens": counts,
        "took": took, "hardware": arguments.hardware, "threads": torch.get_num_threads(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "code": code_version(), "held_out": quality,
        "curve": curve,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(path, path.stat().st_size, flush=True)


def _stream(model: Model, tokens: Tokens, spec: ReadSpec, folder: Path) -> ActivationStream:
    """The states of all pieces, read once into files."""
    shards = mapped(model, tokens, spec, folder=folder)
    counts = spec.positions.counts(tokens, 8192)
    return ActivationStream(counts, shards.select, batch_size=2048, buffer_batches=64, seed=0)


if __name__ == "__main__":
    main()
