"""Fair timing: the contestants take turns, and the median of each counts."""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch


def arguments(about: str) -> argparse.Namespace:
    """The flags that all benchmarks share."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=7, help="how often each contestant runs")
    parser.add_argument("--smoke", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--dtype", nargs="*", default=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds: for ratios on a machine that is shared")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rounds, chosen.dtype = 1, ["float32"]
    torch.set_num_threads(chosen.threads)
    return chosen


def race(contestants: Mapping[str, Callable[[], object]], rounds: int, *, cpu: bool = False) -> dict[str, float]:
    """Median seconds of each contestant over `rounds`, of the clock or the CPU, after one round to warm up."""
    clock = time.process_time if cpu else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            start = clock()
            run()
            if turn or rounds == 1:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, times: Mapping[str, float], work: float, unit: str, ours: str) -> None:
    """Print seconds, throughput and how many times faster ours is."""
    print(f"\n{title}  ({platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__})")
    for name, seconds in times.items():
        ratio = seconds / times[ours]
        print(f"  {name:<34} {seconds:8.3f} s  {work / seconds:9.0f} {unit}/s  ours is {ratio:5.2f} x as fast")
