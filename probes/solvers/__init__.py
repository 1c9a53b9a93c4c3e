"""Solvers of linear models that many columns share."""
