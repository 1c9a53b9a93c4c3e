"""`python -m experiments.behaviours`."""

from experiments.behaviours import main

if __name__ == "__main__":
    main()
