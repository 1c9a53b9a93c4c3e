"""The geometry of representations: inner products, subspaces and what they say about concepts."""
