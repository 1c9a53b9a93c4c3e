"""What says whether to believe a probe: control labels, baselines, and description length."""
