"""`python -m experiments.linear_origins`."""

from experiments.linear_origins import main

main()
