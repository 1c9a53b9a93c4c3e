"""Vectors optimised through a frozen model until it writes given texts: one injection, many texts at once.

arXiv:2205.05124 (latent steering vectors) and arXiv:2502.13063 (cramming texts into input embeddings).
"""
