"""`python -m experiments.chat`."""

from experiments.chat import main

if __name__ == "__main__":
    main()
