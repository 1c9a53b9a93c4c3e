"""Code in processes that are fresh to this project: forks of one that has imported large libraries and nothing of ours.

Each would take seconds to import those libraries anew. A module of theirs that we forget to import may not be missed.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torch", "transformers", "transformers.cache_utils", "scipy.stats", "sklearn.linear_model", "pandas")


def errors_of(codes: Sequence[str]) -> list[str]:
    """For each piece of code, run in a process of its own, what that says on standard error; its status, if nothing."""
    command = [sys.executable, "-m", "tests.forked"]
    done = subprocess.run(command, input=json.dumps(codes), capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def _error_of(code: str) -> str:
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            _run(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return said.read() or (f"ended with status {status}" if status else "")


def _run(code: str) -> None:
    """Run it and end this process, whatever comes of it."""
    status = 1
    try:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
        status = 0
    except BaseException:  # noqa: BLE001 (also SystemExit: this process must not go on as its parent)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    for name in LIBRARIES:
        importlib.import_module(name)
    ours = {"workbench", "probes", "steering", "experiments"} & {*sys.modules}
    assert not ours, f"{ours} would not be fresh"
    print(json.dumps([_error_of(code) for code in json.load(sys.stdin)]))
