"""`python -m experiments.layer_sweep`."""

from experiments.layer_sweep import main

if __name__ == "__main__":
    main()
