"""Steered generation: ours with another direction in each row, Hugging Face with one hook, and TransformerLens' bridge.

python -m benchmarks.generation --threads 1
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.timing import arguments, race, table
from workbench.data.packaged import packaged
from workbench.models.edits import Add
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.tokens import Tokens

TEMPERATURE, TOP_P = 1.0, 0.95


def ours(model: Model, prompts: Tokens, directions: torch.Tensor, sampling: Sampling) -> None:
    """Each row is moved along its own direction, at its own strength."""
    strength = torch.linspace(0.5, 1.5, len(prompts))
    edit = Add(site=model.site(), direction=directions, strength=strength)
    generations = model.generate(prompts, edits=edit, sampling=sampling, batch_size=len(prompts))
    assert len(generations) == len(prompts)


@contextmanager
def one_hook(model: Model, direction: torch.Tensor) -> Iterator[None]:
    """A forward hook that adds one direction to every row."""
    layer = model.module.model.layers[model.site().layer]
    moved = direction.to(model.device, model.dtype)
    handle = layer.register_forward_hook(lambda _module, _args, output: output + moved)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def continue_rows(model: Model, prompts: Tokens, sampling: Sampling, **options: Any) -> None:
    """Hugging Face's `generate`; greedily at temperature 0. `options` go to it."""
    padded = prompts.pad("left")
    chosen: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        chosen = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    model.module.generate(
        padded.ids.to(model.device),
        attention_mask=padded.mask.long().to(model.device),
        max_new_tokens=sampling.max_new_tokens,
        pad_token_id=0,
        **chosen,
        **options,
    )


def hugging_face(model: Model, prompts: Tokens, direction: torch.Tensor, sampling: Sampling, **options: Any) -> None:
    """`generate` with one hook."""
    with one_hook(model, direction):
        continue_rows(model, prompts, sampling, **options)


@torch.no_grad()
def bridge(model: Model, prompts: Tokens, direction: torch.Tensor, new: int) -> None:
    """TransformerLens 4: `generate` under a hook that adds one direction to every row."""
    moved = direction.to(model.dtype)

    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        return value + moved

    padded = prompts.pad("left")
    with model.bridge.hooks(fwd_hooks=[(str(model.site()), add)]):
        model.bridge.generate(padded.ids, max_new_tokens=new, do_sample=False, stop_at_eos=False, verbose=False)


def compare(model: Model, n_rows: int, sampling: Sampling, rounds: int, *, cpu: bool) -> None:
    """All contestants on the same prompts, the packaged instructions in turn, every row to the same length."""
    # No row may end early, or the contestants would not do the same work.
    model.module.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    instructions, new = packaged().instructions, sampling.max_new_tokens
    prompts = model.tokenize([instructions[row % len(instructions)] for row in range(n_rows)], chat=True)
    directions = torch.randn(n_rows, model.d_model, generator=torch.Generator().manual_seed(0))
    contestants = {
        "workbench, a direction for each row": lambda: ours(model, prompts, directions, sampling),
        "Hugging Face generate, one hook": lambda: hugging_face(model, prompts, directions[0], sampling),
    }
    if sampling.temperature == 0 and n_rows <= 32:
        contestants["TransformerLens bridge.generate"] = lambda: bridge(model, prompts, directions[0], new)
    times = race(contestants, rounds, cpu=cpu)
    how = "greedily" if sampling.temperature == 0 else f"sampled from {sampling.top_p:.0%}"
    title = f"generate {n_rows} x {new} tokens {how}, {len(set(prompts))} prompts, {model.dtype}"
    table(title, times, n_rows * new, "tokens", next(iter(contestants)))


def main() -> None:
    chosen = arguments(__doc__ or "")
    sizes, new = ((2,), 2) if chosen.smoke else ((128, 32), 40)
    for dtype in chosen.dtype:
        model = load(dtype=dtype)
        for n_rows in sizes:
            compare(model, n_rows, Sampling(new, TEMPERATURE, TOP_P), chosen.rounds, cpu=chosen.cpu)
            compare(model, n_rows, Sampling(new), chosen.rounds, cpu=chosen.cpu)


if __name__ == "__main__":
    main()
