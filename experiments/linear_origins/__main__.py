"""`python -m experiments.linear_origins`."""

from experiments.linear_origins import main

if __name__ == "__main__":
    main()
