"""`python -m experiments.axbench`."""

from experiments.axbench import main

if __name__ == "__main__":
    main()
