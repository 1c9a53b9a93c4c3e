"""Vectors that carry a task which the model was shown in context: from heads, and from the residual stream.

arXiv:2310.15213 (function vectors) and arXiv:2310.15916 (task vectors).
"""
