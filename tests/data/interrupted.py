"""Processes that store the same texts, for test_store.py: one killed while it writes, two at once that resume.

`python -m tests.data.interrupted FOLDER` prints what became of them as JSON. The processes are forks, so that
the slow imports happen once; nothing that starts threads is run before the last fork.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from tests.data.fingerprint import fingerprint
from tests.tiny import tiny_model
from workbench.data.store import mapped
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.runs.files import read_json, write_json

TEXTS = [f"text {'x' * (7 * number % 31)} {number}" for number in range(23)]
SITES = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_z"]


def forked(work: Callable[[], object]) -> Callable[[], int]:
    """Start `work` in another process; the call returned waits for its exit code, -9 if it was killed."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at_sync(last: int) -> None:
    """Kill this process in place of its sync number `last`: the bytes are written, but the file has no name yet."""
    sync, done = os.fsync, []

    def counted(handle: int) -> None:
        done.append(handle)
        if len(done) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted


def store(model: Model, folder: Path, result: Path | None = None) -> None:
    held = mapped(model, TEXTS, ReadSpec.at(*SITES), folder=folder, shard_rows=5).whole()
    if result is not None:
        write_json(result, fingerprint(held))


def main(root: Path) -> None:
    torch.set_num_threads(1)
    model, folder = tiny_model(), root / "store"
    # Looked up before the forks, because the look-up imports TransformerLens.
    assert model.n_layers == 3
    # A shard syncs itself and its folder: the seventh sync is that of the fourth shard.
    killed = forked(lambda: (kill_at_sync(7), store(model, folder)))()
    left = sorted(path.name for path in folder.iterdir())
    results = [root / "one.json", root / "two.json", root / "uninterrupted.json"]
    both = [forked(lambda result=result: store(model, folder, result)) for result in results[:2]]
    exits = [wait() for wait in both]
    store(model, root / "other", results[2])
    print(
        json.dumps({"killed": killed, "left": left, "exits": exits, "results": [read_json(path) for path in results]})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
