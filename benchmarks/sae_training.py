"""A step of a TopK autoencoder: ours, plain dense torch, and SAELens' trainer, in one run on the same states.

python -m benchmarks.sae_training [--peer PYTHON] [--profile]

One thread, float32, stored states, equal weights to begin with and so equal losses, which are printed. SAELens pins
another TransformerLens than this project: `--peer` is the Python of an environment with `torch<2.14`,
`transformer-lens<4` and `sae-lens`. All take turns, and the median step counts, in CPU seconds (`--cpu`) where the
machine is shared. `--profile` times the parts of our step by themselves, and says what memory it needs.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch

os.environ.setdefault("NPROC", "1")  # XLA's threads
torch.set_num_threads(1)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402
from jax import lax  # noqa: E402

from benchmarks.timing import race, table  # noqa: E402
from probes.sae.config import DictionaryConfig  # noqa: E402
from probes.sae.sparse import decode_rows, pre_activations, scatter_rows  # noqa: E402
from probes.sae.step import begin, build, make_step, optimizer  # noqa: E402
from workbench.models.sites import Site  # noqa: E402

PEER = Path(__file__).with_name("sae_peer.py")


def states(n: int, d: int) -> np.ndarray:
    """Sums of a few directions of many: what a dictionary can learn."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(4 * d, d)).astype(np.float32)
    codes = generator.exponential(size=(n, 4 * d)) * (generator.random((n, 4 * d)) < 8 / (4 * d))
    x = codes.astype(np.float32) @ features
    return x * np.float32(d**0.5 / np.linalg.norm(x, axis=1).mean())


def ours(config: DictionaryConfig, x: np.ndarray, batch: int) -> Callable[[], float]:
    module = build(config, x.shape[1], x.shape[1])
    state, step, batches = [begin(config, module)], make_step(config, nnx.graphdef(module)), _batches(x, batch)

    def run() -> float:
        some = jnp.asarray(next(batches))
        state[0], seen = step(state[0], some, some)
        return float(seen["loss"])

    return run


def dense(config: DictionaryConfig, x: np.ndarray, batch: int) -> Callable[[], float]:
    """The same step as torch does it by itself: dense codes, dense gradients."""
    module = build(config, x.shape[1], x.shape[1])
    start = {name: np.array(value[...]) for name, value in nnx.state(module, nnx.Param).items()}
    w = {str(name): torch.from_numpy(value).requires_grad_() for name, value in start.items()}
    adam, batches = torch.optim.Adam(list(w.values()), lr=config.learning_rate), _batches(x, batch)

    def run() -> float:
        some = torch.from_numpy(next(batches))
        pre = (some - w["b_dec"]) @ w["W_enc"].T + w["b_enc"]
        norm = w["W_dec"].norm(dim=1).detach()
        index = (pre * norm).topk(config.k, dim=1).indices
        codes = torch.zeros_like(pre).scatter(1, index, pre.gather(1, index).relu())
        loss = (codes @ w["W_dec"] + w["b_dec"] - some).square().sum(1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), config.clip_norm)
        adam.step()
        adam.zero_grad()
        return float(loss.detach())

    return run


@contextmanager
def saelens(python: str, config: DictionaryConfig, x: np.ndarray, batch: int, folder: Path) -> "Iterator[_Turns]":
    """SAELens' trainer in a process of its own, which takes a step for each line and answers with loss and seconds."""
    module = build(config, x.shape[1], x.shape[1])
    w = {str(name): np.array(value[...]) for name, value in nnx.state(module, nnx.Param).items()}
    np.savez(folder / "peer.npz", x=x, W_enc=w["W_enc"], b_enc=w["b_enc"], W_dec=w["W_dec"], b_dec=w["b_dec"])
    settings = json.dumps({"k": config.k, "lr": config.learning_rate, "batch": batch})
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, str(PEER), str(folder / "peer.npz"), settings]
    with subprocess.Popen(command, env=environment, text=True, stdin=-1, stdout=-1, stderr=-3) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
        yield _Turns(process.stdin, process.stdout)
        process.stdin.close()


class _Turns:
    def __init__(self, to: IO[str], back: IO[str]):
        self.to, self.back, self.seconds = to, back, list[float]()

    def __call__(self) -> float:
        self.to.write("\n")
        self.to.flush()
        loss, seconds = json.loads(self.back.readline())
        self.seconds.append(seconds)
        return loss


def _batches(x: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    while True:
        for begin_ in range(0, len(x) - batch + 1, batch):
            yield x[begin_ : begin_ + batch]


def profile(config: DictionaryConfig, x: np.ndarray, rounds: int, cpu: bool) -> None:
    """Print the parts of our step, each compiled alone."""
    module = build(config, x.shape[1], x.shape[1])
    encoder, decoder, bias = module.W_enc[...], module.W_dec[...], module.b_enc[...]
    some = jnp.asarray(x)
    pre = pre_activations(some, encoder, bias, "float32")
    values, index = lax.top_k(pre, config.k)
    adam, params = optimizer(config), nnx.state(module, nnx.Param)
    moments = adam.init(params)

    def slope(values: jax.Array, decoder: jax.Array) -> jax.Array:
        return jax.vjp(lambda v: decode_rows(v, index, decoder), values)[1](some)[0]

    parts: dict[str, Callable[[], object]] = {
        "encoder": _compiled(lambda *w: pre_activations(*w, "float32"), some, encoder, bias),
        "top_k": _compiled(lambda p: lax.top_k(p, config.k), pre),
        "decode (gather)": _compiled(decode_rows, values, index, decoder),
        "slope of codes (gather)": _compiled(slope, values, decoder),
        "scatter, one of two": _compiled(lambda *w: scatter_rows(*w, config.n_latents), values, index, some),
        "clipping and Adam": _compiled(lambda p, m: adam.update(p, m, p), params, moments),
    }
    times = race(parts, rounds, cpu=cpu)
    print("\nparts of our step, each compiled alone")
    for name, seconds in times.items():
        print(f"  {name:<28} {1e3 * seconds:8.1f} ms")
    step = make_step(config, nnx.graphdef(module))
    memory = step.lower(begin(config, module), some, some).compile().memory_analysis()  # pyright: ignore
    needed = 3 * sum(leaf.nbytes for leaf in jax.tree.leaves(params)) + some.nbytes
    print(f"  memory: {memory.temp_size_in_bytes / 2**20:.0f} MiB beside the {needed / 2**20:.0f} MiB of parameters, "
          "moments and batch")  # fmt: skip


def _compiled(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    call = jax.jit(function)
    return lambda: jax.block_until_ready(call(*arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--peer", help="Python of an environment with SAELens")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="where the peer's states lie for a while")
    chosen = parser.parse_args()
    d, n, batch = (64, 512, 128) if chosen.smoke else (576, 4608, 2048)
    chosen.rounds = 1 if chosen.smoke else chosen.rounds
    config = DictionaryConfig(n_latents=n, k=8 if chosen.smoke else 32, site=Site(0))
    x = states(4 * batch, d)
    losses: dict[str, list[float]] = {}
    runs = {"ours": ours(config, x, batch), "dense torch": dense(config, x, batch)}

    def kept(name: str, run: Callable[[], float]) -> Callable[[], None]:
        return lambda: losses.setdefault(name, []).append(run())

    if chosen.peer:
        chosen.folder.mkdir(parents=True, exist_ok=True)
        with saelens(chosen.peer, config, x, batch, chosen.folder) as turns:
            contestants = {name: kept(name, run) for name, run in {**runs, "SAELens": turns}.items()}
            times = race(contestants, chosen.rounds, cpu=chosen.cpu)
            if chosen.cpu:
                times["SAELens"] = float(np.median(turns.seconds[1:] or turns.seconds))
        (chosen.folder / "peer.npz").unlink()
    else:
        times = race({name: kept(name, run) for name, run in runs.items()}, chosen.rounds, cpu=chosen.cpu)
    table(f"TopK step, {d} -> {n}, k {config.k}, batch {batch}, float32", times, batch, "states", "ours")
    for name, values in losses.items():
        print(f"  losses of {name:<12}" + " ".join(f"{value:9.3f}" for value in values))
    if chosen.profile:
        profile(config, x[:batch], chosen.rounds, chosen.cpu)


if __name__ == "__main__":
    sys.exit(main())
