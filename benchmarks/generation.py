"""Steered generation: ours with another direction in each row, Hugging Face with one hook, and TransformerLens' bridge.

python -m benchmarks.generation
"""

from typing import Any

import torch

from benchmarks.timing import arguments, race, table
from workbench.models.edits import Add
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.tokens import Tokens

PROMPTS = [
    "Tell me a story about a lighthouse.",
    "Why is the sky blue?",
    "How do I plan a party for ten?",
    "What is money?",
]


def ours(model: Model, prompts: Tokens, directions: torch.Tensor, new: int) -> None:
    """Each row is moved along its own direction, at its own strength."""
    strength = torch.linspace(0.5, 1.5, len(prompts))
    edit = Add(site=model.site(), direction=directions, strength=strength)
    found = model.generate(prompts, edits=edit, sampling=Sampling(max_new_tokens=new), batch_size=len(prompts))
    assert len(found) == len(prompts)


@torch.no_grad()
def hugging_face(model: Model, prompts: Tokens, direction: torch.Tensor, new: int) -> None:
    """`generate` with one hook that adds one direction to every row."""
    layer = model.module.model.layers[model.site().layer]
    moved = direction.to(model.dtype)
    handle = layer.register_forward_hook(lambda _module, _args, output: output + moved)
    padded = prompts.pad("left")
    try:
        model.module.generate(
            padded.ids, attention_mask=padded.mask.long(), max_new_tokens=new, do_sample=False, pad_token_id=0
        )
    finally:
        handle.remove()


@torch.no_grad()
def bridge(model: Model, prompts: Tokens, direction: torch.Tensor, new: int) -> None:
    """TransformerLens 4: `generate` under a hook that adds one direction to every row."""
    moved = direction.to(model.dtype)

    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        return value + moved

    padded = prompts.pad("left")
    with model.bridge.hooks(fwd_hooks=[(str(model.site()), add)]):
        model.bridge.generate(padded.ids, max_new_tokens=new, do_sample=False, stop_at_eos=False, verbose=False)


def compare(model: Model, n_rows: int, new: int, rounds: int) -> None:
    """All contestants on the same prompts, every row to the same length."""
    # No row may end early, or the contestants would not do the same work.
    model.module.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    prompts = model.tokenize([PROMPTS[row % len(PROMPTS)] for row in range(n_rows)], chat=True)
    directions = torch.randn(n_rows, model.d_model, generator=torch.Generator().manual_seed(0))
    contestants = {
        "workbench, a direction for each row": lambda: ours(model, prompts, directions, new),
        "Hugging Face generate, one hook": lambda: hugging_face(model, prompts, directions[0], new),
        "TransformerLens bridge.generate": lambda: bridge(model, prompts, directions[0], new),
    }
    times = race(contestants, rounds)
    table(f"generate {n_rows} x {new} tokens, {model.dtype}", times, n_rows * new, "tokens", next(iter(contestants)))


def main() -> None:
    chosen = arguments(__doc__ or "")
    n_rows, new = (2, 2) if chosen.smoke else (32, 32)
    for dtype in chosen.dtype:
        compare(load(dtype=dtype), n_rows, new, chosen.rounds)


if __name__ == "__main__":
    main()
