"""`python -m experiments.erasure`."""

from experiments.erasure import main

if __name__ == "__main__":
    main()
