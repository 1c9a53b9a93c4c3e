"""`python -m experiments.grace`."""

from experiments.grace import main

if __name__ == "__main__":
    main()
