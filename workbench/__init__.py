"""The bench: models, concepts, activations, artifacts, evaluation, runs and reports."""
