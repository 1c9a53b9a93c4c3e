"""`python -m experiments.directions`."""

from experiments.directions import main

main()
