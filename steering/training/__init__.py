"""Training through the frozen model: objectives, the trainer, and its checkpoints."""
