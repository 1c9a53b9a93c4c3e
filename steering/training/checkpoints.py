"""The progress of a training: one concept's parameters and optimiser, and their checkpoints on disk."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from steering.training.objective import TrainingData
from workbench.data.labelled import ModelAccess
from workbench.runs.clock import Seconds, continues
from workbench.runs.errors import DamagedFile
from workbench.runs.files import canonical, digest
from workbench.runs.tensors import read_tensors, write_tensors

Constrain = Callable[[dict[str, Tensor]], None]
"""Changes parameters and their gradients in place."""

VERSION = 3
"""Raised when the same settings come to train something else."""

ADAM = ("step", "exp_avg", "exp_avg_sq")
"""What the optimiser keeps of each parameter."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class TrainingState:
    """One concept on its way through training."""

    leaves: dict[str, Tensor]
    learning_rate: float
    weight_decay: float
    n_steps: int
    """Optimiser steps of the whole training."""
    losses: list[float] = field(default_factory=list)
    """The loss of every step so far."""
    stopped: str | None = None
    """Why it goes no further, if it does not."""
    looks: int = 0
    """How many times, evenly spread up to the last step, the parameters are kept."""
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """These parameters, by the number of steps behind them."""

    def __post_init__(self) -> None:
        self.leaves = {name: value.detach().clone().requires_grad_() for name, value in self.leaves.items()}
        self.optimizer = torch.optim.AdamW(
            list(self.leaves.values()), lr=self.learning_rate, weight_decay=self.weight_decay
        )

    @property
    def progress(self) -> float:
        """The share of the steps that are done."""
        return len(self.losses) / self.n_steps

    def values(self) -> dict[str, Tensor]:
        """The parameters as they are, on the CPU, free of gradients."""
        return {name: leaf.detach().cpu().clone() for name, leaf in self.leaves.items()}

    def step(self, loss: float, clip: float, constrain: Constrain) -> None:
        """Clip, constrain, step, clear; a loss or gradient that is not finite stops it first."""
        norm = torch.nn.utils.clip_grad_norm_(self.leaves.values(), clip)
        if math.isfinite(loss) and math.isfinite(float(norm)):
            with torch.no_grad():
                constrain(self.leaves)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * (1 - self.progress)
            self.optimizer.step()
            self.losses.append(loss)
            if len(self.losses) in {-(-self.n_steps * k // self.looks) for k in range(1, self.looks + 1)}:
                self.kept[len(self.losses)] = self.values()
        else:
            self.stopped = (
                f"diverged at step {len(self.losses) + 1} of {self.n_steps}: loss {loss}, gradient norm {float(norm)}"
            )
        self.optimizer.zero_grad()


@dataclass(frozen=True, eq=False)
class Checkpoints:
    """What each concept's training left after its last whole epoch; without a folder nothing is kept.

    A checkpoint is named by all that the training depends on: settings, the model with its tokenizer and chat template,
    and the concept's states and labels with the texts of its set. One of anything else is not found, and training
    begins anew.
    """

    through: ModelAccess
    settings: object
    """What is trained and how, as a dataclass: another one never finds this one's checkpoints."""
    data: Sequence[TrainingData]
    looks: int = 0
    """As of TrainingState."""

    @property
    def folder(self) -> Path | None:
        """Where they are."""
        return self.through.folder

    def write(self, at: int, state: TrainingState, epochs: int, took: Seconds) -> None:
        """Keep the state of a concept after `epochs` epochs, and what it took so far, atomically."""
        if self.folder is None:
            return
        header = {"of": self._key(at), "epochs": epochs, "losses": state.losses, "stopped": state.stopped}
        header |= {"kept": list(state.kept), "took": took}
        tensors = {f"leaf.{name}": leaf.detach() for name, leaf in state.leaves.items()}
        for name, leaf in state.leaves.items():
            tensors |= {f"{key}.{name}": value for key, value in state.optimizer.state.get(leaf, {}).items()}
        tensors |= {f"kept.{step}.{name}": each for step, own in state.kept.items() for name, each in own.items()}
        whole = {name: value.cpu().contiguous() for name, value in tensors.items()}
        write_tensors(self._path(at), canonical(header), whole)

    def resume(self, at: int, state: TrainingState) -> int:
        """Bring a state to where its checkpoint stands; the epochs that are done, 0 without a checkpoint.

        What these took counts as taken by this process (`workbench.runs.clock`).
        One that is not as it was written counts as none, as the log says. Raises StorageError for an unreadable one.
        """
        if self.folder is None or not self._path(at).exists():
            return 0
        try:
            note, tensors = read_tensors(self._path(at))
        except DamagedFile as error:
            log.warning("%s: training from the start", error)
            return 0
        header = json.loads(note)
        if header["of"] != self._key(at):
            log.warning("%s is the checkpoint of another training: training from the start", self._path(at))
            return 0
        continues(Seconds(**header["took"]))
        state.losses, state.stopped = header["losses"], header["stopped"]
        for name, leaf in state.leaves.items():
            with torch.no_grad():
                leaf.copy_(tensors.pop(f"leaf.{name}"))
            moments = {key: tensors[f"{key}.{name}"] for key in ADAM if f"{key}.{name}" in tensors}
            state.optimizer.state[leaf] = {
                key: value if key == "step" else value.to(leaf) for key, value in moments.items()
            }
        state.kept = {step: {name: tensors[f"kept.{step}.{name}"] for name in state.leaves} for step in header["kept"]}
        return header["epochs"]

    def _key(self, at: int) -> str:
        one, model = self.data[at], self.through.model.identity
        return digest([VERSION, type(self.settings).__name__, self.settings, model, one.name, one.digest, self.looks])

    def _path(self, at: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{self._key(at)[:24]}.safetensors"


def random_stream(seed: int, name: str, epoch: int) -> torch.Generator:
    """The random numbers of one concept's epoch: the same whatever else is trained, and after a resume."""
    key = canonical([seed, name, epoch]).encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:6], "big"))
