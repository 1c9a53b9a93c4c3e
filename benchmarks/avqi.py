"""AVQI in both forms over 3 x 1000 states of 30 layers, and its intervals over one layer, in seconds.

python -m benchmarks.avqi
"""

import torch

from benchmarks.timing import arguments, race
from probes.geometry.avqi import avqi, avqi_intervals
from workbench.data.safety import ROLES


def main() -> None:
    chosen = arguments(__doc__ or "")
    n_layers, n = (2, 50) if chosen.smoke else (30, 1000)
    generator = torch.Generator().manual_seed(0)
    states = {role: torch.randn(n_layers, n, 576, generator=generator) + k for k, role in enumerate(ROLES)}
    one = {role: each[:1] for role, each in states.items()}
    times = race(
        {
            f"{n_layers} layers": lambda: avqi(states),
            "one layer, with intervals of 1000 draws": lambda: avqi_intervals(one),
        },
        chosen.rounds,
        cpu=chosen.cpu,
    )
    clock = "CPU" if chosen.cpu else "clock"
    print(f"\nAVQI of 3 x {n} states of width 576, {clock} time, {chosen.threads} threads")
    for name, seconds in times.items():
        print(f"  {name:<42} {seconds:6.2f} s")


if __name__ == "__main__":
    main()
