"""A training of GRACE beside one of DPO, and one that runs prompts thrice, on the same triples, in seconds.

python -m benchmarks.grace --cpu --threads 1 --rounds 3
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from benchmarks.timing import arguments, race
from steering.grace.attacks import DISGUISES, TRAINED, attacked, disguised
from steering.grace.objectives import LORA, DpoObjective, GraceObjective, TripleObjective, profiled_sites
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from workbench.data.dataset import Dataset
from workbench.data.labelled import ModelAccess
from workbench.data.safety import of_split, safety_dataset, stand_in
from workbench.models.load import load
from workbench.models.model import Model


def triples(n: int) -> Dataset:
    """Requests of the stand-in under the families that defences learn from, with allowed ones in their disguises."""
    requests = stand_in()
    forbidden, allowed = (of_split(requests, "train", allowed=each) for each in (False, True))
    worn = [family for family in TRAINED if family in DISGUISES]
    return safety_dataset("triples", attacked(forbidden[:n], TRAINED, forbidden), disguised(allowed[:n], worn))


class Apart(GraceObjective):
    """GRACE whose prompts run with each of their completions."""

    shares_prompts: ClassVar[bool] = False


def objectives(model: Model, recipe: TrainingConfig) -> dict[str, TripleObjective]:
    """All with the LoRA of the experiment."""
    lora = replace(LORA, recipe=recipe)
    grace, apart = (kind.on(model, lora) for kind in (GraceObjective, Apart))
    sites = profiled_sites(grace, model.n_layers)
    return {
        "DPO": DpoObjective.on(model, lora),
        "GRACE": replace(grace, observes=sites),
        "GRACE, prompts apart": replace(apart, observes=sites),
    }


def compare(model: Model, data: Dataset, recipe: TrainingConfig, rounds: int, *, cpu: bool) -> None:
    """Print seconds of preparation and of whole trainings, and the ratio of what the steps take."""
    tokens, contestants = model.encode(data.conversations), dict[str, Callable[[], object]]()
    wanted = objectives(model, recipe)
    for name, each in wanted.items():
        contestants[f"{name}, preparation"] = partial(each.prepare, model, tokens)
        contestants[f"{name}, with its preparation"] = partial(train, each, [data], ModelAccess(model))
    times = race(contestants, rounds, cpu=cpu)
    for name, seconds in times.items():
        print(f"  {name:<30} {seconds:7.2f} s")
    dpo, grace, apart = (times[f"{name}, with its preparation"] - times[f"{name}, preparation"] for name in wanted)
    print(f"  GRACE's steps take {grace / dpo:.2f} times as long as DPO's,")
    print(f"  and {grace / apart:.2f} times as long as with prompts apart")


def main() -> None:
    chosen = arguments(__doc__ or "")
    n = 2 if chosen.smoke else 16
    for dtype in chosen.dtype:
        model, data = load(dtype=dtype), triples(n)
        clock = "CPU" if chosen.cpu else "clock"
        print(f"\n{n} triples, {len(data.items)} texts, {dtype}, {clock} time, {chosen.threads} threads")
        compare(model, data, TrainingConfig(1, min(n, 8), 1e-4), chosen.rounds, cpu=chosen.cpu)


if __name__ == "__main__":
    main()
