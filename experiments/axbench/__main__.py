"""`python -m experiments.axbench`."""

from experiments.axbench import main

main()
