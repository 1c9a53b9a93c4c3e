"""For test_executors.py: two processes wait for ever, until this one is stopped."""

import signal
import sys
from pathlib import Path

from tests.runs.chores import Kitchen, Waiting
from workbench.runs.executors import choose_executor

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background passes on that it is ignored
    with choose_executor("processes", 2) as executor:
        executor.finish(Kitchen(Path(sys.argv[1])), [Waiting(number) for number in range(4)], "wait")
