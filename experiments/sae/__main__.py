"""`python -m experiments.sae`."""

from experiments.sae import main

if __name__ == "__main__":
    main()
