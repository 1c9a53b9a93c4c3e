"""The bench: models, data, artifacts, methods, evaluation, runs, reports and exchange."""
