"""`python -m experiments.function_vectors`."""

from experiments.function_vectors import main

if __name__ == "__main__":
    main()
