"""`python -m experiments.serve`."""

from experiments.serve import main

if __name__ == "__main__":
    main()
