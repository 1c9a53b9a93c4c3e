"""What a user waits for: the help text, the first conversion of the default model, every later load, detection.

python -m benchmarks.startup
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.timing import arguments
from workbench.data.dataset import Dataset
from workbench.data.packaged import packaged

LOAD = (
    "import time; start = time.perf_counter(); from workbench.models.load import load; load(dtype='float32'); "
    "whole = time.perf_counter() - start; start = time.perf_counter(); load(dtype='float32'); "
    "print(whole if {whole} else time.perf_counter() - start)"
)
"""Prints the seconds of a first load with all imports, or of the next one in the same process."""


def seconds_of(*command: str, cache: Path | None = None) -> float:
    """Wall time of a command, or the number that it prints last."""
    environment = os.environ | ({} if cache is None else {"WORKBENCH_CACHE": str(cache)})
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True, env=environment)
    last = done.stdout.strip().rpartition("\n")[2]
    return float(last) if last.replace(".", "", 1).isdigit() else time.perf_counter() - start


def detection_seconds(concepts: Dataset) -> float:
    """Scoring every text for every method of AxBench's tables but SAEs, and concept, from states of random numbers."""
    from experiments.axbench import METHODS
    from experiments.axbench.config import OF_DICTIONARY, PAPER
    from workbench.data.states import States
    from workbench.evaluation.detecting import detections, text_scores
    from workbench.methods.capabilities import NeedsModel, detects
    from workbench.models.activations import Activations
    from workbench.models.readspec import ReadSpec
    from workbench.models.sites import Site

    n_rows, site = len(concepts.items), Site(18)
    row = torch.arange(n_rows).repeat_interleave(60)
    x = torch.randn(len(row), 576, generator=torch.Generator().manual_seed(0))
    data = States(concepts, Activations({site: x}, row, n_rows), ReadSpec((site,)), "random", "0")
    methods = {name: METHODS[name].make() for name in PAPER if name not in OF_DICTIONARY}
    quick = {name: method for name, method in methods.items() if detects(method) and not isinstance(method, NeedsModel)}
    fitted = {name: (method, method.fit_all(data)) for name, method in quick.items()}
    start = time.perf_counter()
    for scores in text_scores(data, fitted).values():
        detections(concepts, scores)
    return time.perf_counter() - start


def main() -> None:
    chosen = arguments(__doc__ or "")
    print(f"help                {seconds_of('-m', 'experiments.axbench', '--help'):6.2f} s")
    whole, concepts = LOAD.format(whole=True), packaged().subset(1 if chosen.smoke else None)
    print(f"load, new process   {seconds_of('-c', whole):6.2f} s  (importing torch and transformers included)")
    n, seconds = len(concepts.targets), detection_seconds(concepts)
    print(f"detection           {seconds:6.2f} s  ({n} concepts, all methods that work on stored states)")
    if not chosen.smoke:
        print(f"later load          {seconds_of('-c', LOAD.format(whole=False)):6.2f} s  (libraries already imported)")
        with tempfile.TemporaryDirectory() as folder:
            seconds = seconds_of("-c", whole, cache=Path(folder))
        print(f"first load          {seconds:6.2f} s  (new process, with fetch and conversion)")


if __name__ == "__main__":
    main()
