"""The exact effect of every head on one prompt: rows of one token behind a shared prompt, against a forward a head.

python -m benchmarks.function_vectors

The peer runs a part of the heads, evenly spread, and its time is scaled to all of them; `--all` runs them all.
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from benchmarks.timing import arguments, race, table
from steering.function_vectors.effects import all_heads, exact_effects
from steering.function_vectors.last_token import LAST, LastTokenRun
from steering.function_vectors.means import Head, TaskMeans
from steering.function_vectors.prompts import InContextPrompts, Shown, encode_shown
from workbench.data.in_context import in_context_tasks
from workbench.data.templates import Template
from workbench.data.word_pairs import pairs_of
from workbench.models.edits import Replace
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.sites import Site


@torch.no_grad()
def one_forward_each(model: Model, prompt: InContextPrompts, means: TaskMeans, heads: Sequence[Head]) -> torch.Tensor:
    """The whole prompt for every head, with the logits of its last token alone."""
    layout, target = Layout.of(prompt.tokens, [0]).to(model.device), int(prompt.target[0])

    def p() -> torch.Tensor:
        return model.forward(layout, n_logits=1).logits[0, -1].float().softmax(0)[target].cpu()

    plain, found = p(), []
    for layer, number in heads:
        edit = Replace(site=Site(layer, "z").head(number), value=means.heads[layer, number], positions=LAST)
        with model.edited(edit):
            found.append(p() - plain)
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--all", action="store_true")
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    chosen = arguments(__doc__ or "")
    model = load(dtype="float32")
    data = in_context_tasks("packaged")
    pairs = pairs_of(data, data.relation("country-capital"))
    shown = Shown.draw(pairs, pairs[:2], 2 if chosen.smoke else 10, 0)
    prompts = encode_shown(model, Template(), shown)
    means = TaskMeans.read(model, prompts.tokens[[0]])
    prompt, heads = prompts[[1]], all_heads(means)
    part = heads if own.all else heads[:: 90 if chosen.smoke else 15]
    target, results = int(prompt.target[0]), {}

    def ours() -> None:
        results["ours"] = exact_effects(LastTokenRun.of(model, prompt.tokens), target, means, heads)

    def theirs() -> None:
        results["theirs"] = one_forward_each(model, prompt, means, part)

    times = race({"workbench": ours, "one forward a head": theirs}, chosen.rounds)
    times["one forward a head"] *= len(heads) / len(part)
    n_tokens = prompt.tokens.lengths[0]
    table(f"{len(heads)} heads, a prompt of {n_tokens} tokens, float32", times, len(heads), "heads", "workbench")
    mine = results["ours"][[heads.index(head) for head in part]]
    difference = float((mine - results["theirs"]).abs().max())
    print(
        f"  largest difference of {len(part)} effects: {difference:.1e}; largest effect {float(mine.abs().max()):.1e}"
    )


if __name__ == "__main__":
    main()
