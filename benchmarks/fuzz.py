"""Hostile inputs for every loader: each file that is read here, damaged and with other values in it.

A loader returns a value, or raises its own error class with a message of one line that names the file or folder. It
never raises anything else, takes long, opens a connection, starts a process or unpickles. The loaders are entered in
`benchmarks/fuzz_loaders.py` and `benchmarks/fuzz_published.py`.

    python -m benchmarks.fuzz --inputs 2000            # of every loader; exit status 1 if one did something else
    python -m benchmarks.fuzz --only gguf --seed 3
"""

import argparse
import faulthandler
import io
import logging
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import DataObject

from benchmarks.fuzz_loaders import LOADERS, Loader
from benchmarks.fuzz_mutations import mutated
from benchmarks.fuzz_published import PUBLISHED

EVERY = (*LOADERS, *PUBLISHED)
SLOW_S = 5.0
"""CPU seconds that no small file may take."""
GONE_S = 120
"""After so long in one input the process ends with a traceback."""
MEMORY = 8 << 30
"""Bytes of address space beyond what is in use at the start."""
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class"}
"""Audit events (PEP 578) of what no loader does."""


class Watch:
    """The forbidden audit events since the last look. An audit hook stays for the life of the process."""

    def __init__(self) -> None:
        self.events: list[str] = []
        sys.addaudithook(lambda event, _: self.events.append(event) if event in FORBIDDEN else None)

    def taken(self) -> list[str]:
        """The events, which are then forgotten."""
        events, self.events = self.events, []
        return events


def outcome(loader: Loader, path: Path, watch: Watch) -> str:
    """`loaded`, `refused`, or what is wrong. What is slow is tried again: a first time may pay for an import."""
    found, spent = _tried(loader, path, watch)
    if spent > SLOW_S:
        found, spent = _tried(loader, path, watch)
    return f"took {spent:.0f} s and ended with: {found}" if spent > SLOW_S else found


def _tried(loader: Loader, path: Path, watch: Watch) -> tuple[str, float]:
    """How one loading ended, and its CPU seconds."""
    start = time.process_time()
    watch.taken()
    faulthandler.dump_traceback_later(GONE_S, exit=True)
    try:
        with redirect_stderr(io.StringIO()):
            loader.load(path)
        found = "loaded"
    except loader.errors as error:
        found = _complaint(str(error), path if loader.named else None) or "refused"
    except Exception as error:  # noqa: BLE001 (anything at all is what is looked for)
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {str(error)[:200]!r}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    if events := watch.taken():
        found = f"did {', '.join(sorted(set(events)))}"
    return found, time.process_time() - start


def _complaint(message: str, path: Path | None) -> str | None:
    """What is wrong with the message of an expected error."""
    if "\n" in message or "\r" in message or len(message) > 2000:
        return f"a message of {len(message.splitlines())} lines, {len(message)} characters: {message[:200]!r}"
    if path is not None and not any(each.stem in message for each in (path, *path.rglob("*"))):
        return f"a message that names no file: {message[:200]!r}"
    try:
        message.encode()
    except UnicodeEncodeError:
        return f"a message that cannot be printed: {message[:200]!r}"
    return None


def fuzz(loader: Loader, inputs: int, start: int, watch: Watch) -> Counter[str]:
    """How often each outcome came of a loader's inputs."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sample"
        folder.mkdir()
        target = loader.make(folder)
        if (whole := outcome(loader, target, watch)) != "loaded":
            raise SystemExit(f"{loader.name}: the undamaged sample gives: {whole}")
        sample = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        names = sorted(name for name in sample if loader.mutates(name))

        @seed(start)
        @settings(
            max_examples=inputs,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        )
        @given(st.data())
        def one(data: DataObject) -> None:
            name = data.draw(st.sampled_from(names))
            (folder / name).write_bytes(mutated(name, sample[name], data))
            counts[outcome(loader, target, watch)] += 1
            (folder / name).write_bytes(sample[name])

        one()
    return counts


def limit_memory() -> None:
    """An allocation beyond reason is a MemoryError, where the system can hold it to that."""
    try:
        import resource
    except ImportError:
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200, help="of each loader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help=f"of {', '.join(one.name for one in EVERY)}")
    chosen: Any = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()
    warnings.simplefilter("ignore")
    limit_memory()
    watch, faults = Watch(), 0
    with tempfile.TemporaryDirectory() as home:
        set_hypothesis_home_dir(home)
        for loader in EVERY:
            if chosen.only and loader.name not in chosen.only:
                continue
            began = time.process_time()
            counts = fuzz(loader, max(1, round(chosen.inputs * loader.share)), chosen.seed, watch)
            good = {name: counts.pop(name, 0) for name in ("loaded", "refused")}
            said = ", ".join(f"{count} {name}" for name, count in good.items())
            print(f"{loader.name:<20} {said}, {counts.total()} else  ({time.process_time() - began:.1f} s)", flush=True)
            for fault, count in counts.most_common():
                print(f"    {count} x {fault}", flush=True)
            faults += counts.total()
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
