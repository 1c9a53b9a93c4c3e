"""Speed against the peers: the same work in the same process, printed as ratios. Run by hand on a quiet machine."""
