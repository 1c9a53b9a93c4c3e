"""`python -m experiments.erasure`."""

from experiments.erasure import main

main()
