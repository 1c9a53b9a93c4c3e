"""`python -m experiments` lists the experiments and tools, a line each."""

from experiments import EXPERIMENTS, TOOLS


def main() -> None:
    """Print the command of each experiment with what it finds out."""
    experiments = [entry.resolve() for entry in (EXPERIMENTS | TOOLS).values()]
    width = max(len(experiment.program) for experiment in experiments)
    for experiment in experiments:
        print(f"{experiment.program:{width}}  {experiment.summary}")


if __name__ == "__main__":
    main()
