"""Vectors for many sentences in one optimisation, against one sentence at a time.

python -m benchmarks.optimised_vectors

Both take the same steps from the same start; rows leave the batch as they are done. The peer runs a part of the
sentences, evenly spread, and its time is scaled to all of them; `--all` runs them all.
"""

import argparse
import sys

from benchmarks.timing import arguments, race, table
from experiments.latent_steering.config import Config
from experiments.latent_steering.texts import Texts
from steering.optimised.optimise import OptimisedRows, OptimiserConfig, injection, optimise
from workbench.models.load import load


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--all", action="store_true")
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    chosen = arguments(__doc__ or "")
    model, n = load(), 4 if chosen.smoke else 32
    texts = Texts.of(Config(sentences=n)).sentences
    tokens, place = model.tokenize(list(texts), chat=False), injection(model, model.site(0.34))
    config = OptimiserConfig(steps=5 if chosen.smoke else 60, restarts=0)
    part = range(n) if own.all else range(0, n, n // 4)
    together: list[OptimisedRows] = []
    alone: list[OptimisedRows] = []

    def ours() -> None:
        together[:] = [optimise(model, place, tokens, config)]

    def theirs() -> None:
        alone[:] = [optimise(model, place, tokens[[row]], config) for row in part]

    times = race({"workbench": ours, "one at a time": theirs}, chosen.rounds, cpu=chosen.cpu)
    times["one at a time"] *= n / len(part)
    lengths = f"{min(tokens.lengths)} to {max(tokens.lengths)} tokens"
    table(f"{n} sentences of {lengths}, {place.site}, {model.dtype}", times, n, "sentences", "workbench")
    [batch] = together
    off = [abs(int(batch.steps[row]) - int(one.steps)) for row, one in zip(part, alone, strict=True)]
    print(f"  done: {int(batch.done.sum())} of {n}; steps differ from those alone by {max(off)} at most (rounding)")


if __name__ == "__main__":
    main()
