"""`python -m experiments.linear_hypothesis`."""

from experiments.linear_hypothesis import main

if __name__ == "__main__":
    main()
