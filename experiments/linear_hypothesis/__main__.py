"""`python -m experiments.linear_hypothesis`."""

from experiments.linear_hypothesis import main

main()
