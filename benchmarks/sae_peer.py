"""SAELens' trainer, a step for each line of standard input: run by benchmarks/sae_training.py in SAELens' environment.

Answers with the step's loss and CPU seconds. Imports nothing of this project.
"""

import json
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from sae_lens.config import SAETrainerConfig  # pyright: ignore
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig  # pyright: ignore
from sae_lens.training.sae_trainer import SAETrainer  # pyright: ignore


def main(path: str, settings: dict[str, float]) -> None:
    torch.set_num_threads(1)
    with np.load(path) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    x, batch = arrays["x"], int(settings["batch"])
    n, d = arrays["W_dec"].shape
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=n, k=int(settings["k"])))
    with torch.no_grad():
        for name in ("W_dec", "b_enc", "b_dec"):
            getattr(sae, name).copy_(arrays[name])
        sae.W_enc.copy_(arrays["W_enc"].T)

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield from x.split(batch)

    config = SAETrainerConfig(10**9, batch, lr=settings["lr"], lr_end=settings["lr"])
    trainer, some = SAETrainer(config, sae, batches()), batches()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        loss = float(trainer.step(next(some)).loss)
        trainer.n_training_steps += 1
        print(json.dumps([loss, time.process_time() - start]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
