"""`python -m experiments.directions`."""

from experiments.directions import main

if __name__ == "__main__":
    main()
