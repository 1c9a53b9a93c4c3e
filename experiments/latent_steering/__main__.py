"""`python -m experiments.latent_steering`."""

from experiments.latent_steering import main

if __name__ == "__main__":
    main()
