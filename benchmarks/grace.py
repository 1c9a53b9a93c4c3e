"""A training of GRACE beside one of DPO on the same triples, in seconds, preparation apart.

python -m benchmarks.grace --cpu --threads 1 --rounds 3
"""

from dataclasses import replace

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
    """Requests of the stand-in under the families that defences learn from, with allowed requests in their disguises."""
    requests = stand_in()
    forbidden, allowed = (of_split(requests, "train", allowed=each) for each in (False, True))
    worn = [family for family in TRAINED if family in DISGUISES]
    made = [attacked([one], TRAINED[k % len(TRAINED)], forbidden)[0] for k, one in enumerate(forbidden[:n])]
    return safety_dataset("triples", made, disguised(allowed[:n], worn))


def objectives(model: Model, recipe: TrainingConfig) -> dict[str, TripleObjective]:
    """Both, with the LoRA of the experiment."""
    lora = replace(LORA, recipe=recipe)
    grace = GraceObjective.on(model, lora)
    return {"DPO": DpoObjective.on(model, lora), "GRACE": replace(grace, observes=profiled_sites(grace, model.n_layers))}


def main() -> None:
    chosen = arguments(__doc__ or "")
    n = 2 if chosen.smoke else 16
    for dtype in chosen.dtype:
        model, data = load(dtype=dtype), triples(n)
        wanted = objectives(model, TrainingConfig(epochs=1, batch_size=min(n, 8), learning_rate=1e-4))
        tokens = model.encode([data.items[row].conversation for row in range(len(data.items))])
        times = race(
            {f"{name}, preparation": lambda each=each: each.prepare(model, tokens) for name, each in wanted.items()}
            | {
                f"{name}, with its preparation": lambda each=each: train(each, [data], ModelAccess(model))
                for name, each in wanted.items()
            },
            chosen.rounds,
            cpu=chosen.cpu,
        )
        clock = "CPU" if chosen.cpu else "clock"
        print(f"\n{n} triples, {sum(tokens.lengths)} tokens, {dtype}, {clock} time, {chosen.threads} threads")
        for name, seconds in times.items():
            print(f"  {name:<30} {seconds:7.2f} s")
        steps = {name: times[f"{name}, with its preparation"] - times[f"{name}, preparation"] for name in wanted}
        print(f"  GRACE's steps take {steps['GRACE'] / steps['DPO']:.2f} times as long as DPO's")


if __name__ == "__main__":
    main()
