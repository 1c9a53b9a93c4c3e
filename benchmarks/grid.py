"""The whole strength grid: rows of mixed concept and strength in one batch, against one concept and strength at a time.

python -m benchmarks.grid
"""

import torch

from benchmarks.generation import hugging_face
from benchmarks.timing import arguments, race, table
from workbench.data.packaged import packaged
from workbench.models.edits import Add
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.4)


def mixed(model: Model, directions: torch.Tensor, asked: list[str], new: int) -> None:
    """Every concept and strength at once: each row carries its own direction and strength."""
    grid = [(concept, strength) for concept in range(len(directions)) for strength in STRENGTHS for _ in asked]
    edit = Add(
        site=model.site(),
        direction=directions[[concept for concept, _ in grid]],
        strength=torch.tensor([strength for _, strength in grid]),
    )
    prompts = asked * (len(directions) * len(STRENGTHS))
    model.generate(prompts, edits=edit, sampling=Sampling(new), batch_size=128)


def one_at_a_time(model: Model, directions: torch.Tensor, asked: list[str], new: int) -> None:
    """Hugging Face's generate under one hook, the instructions of one concept and strength as a batch."""
    prompts = model.tokenize(asked, chat=True)
    for direction in directions:
        for strength in STRENGTHS:
            hugging_face(model, prompts, strength * direction, Sampling(new))


def compare(model: Model, n_concepts: int, asked: list[str], new: int, rounds: int) -> None:
    """Both write the same number of answers, every row to the same length."""
    # No row may end early, or the contestants would not do the same work.
    model.module.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    directions = torch.randn(n_concepts, model.d_model, generator=torch.Generator().manual_seed(0))
    contestants = {
        "workbench, all rows mixed": lambda: mixed(model, directions, asked, new),
        "Hugging Face, one at a time": lambda: one_at_a_time(model, directions, asked, new),
    }
    n_rows = n_concepts * len(STRENGTHS) * len(asked)
    times = race(contestants, rounds)
    table(f"generate {n_rows} x {new} tokens, {model.dtype}", times, n_rows, "rows", next(iter(contestants)))


def main() -> None:
    chosen = arguments(__doc__ or "")
    n_concepts, new = (1, 2) if chosen.smoke else (5, 32)
    asked = list(packaged().instructions[: 2 if chosen.smoke else 5])
    for dtype in chosen.dtype:
        compare(load(dtype=dtype), n_concepts, asked, new, chosen.rounds)


if __name__ == "__main__":
    main()
