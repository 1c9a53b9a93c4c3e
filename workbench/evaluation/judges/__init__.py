"""Judges of steered text, behind one protocol: an endpoint, a local model, or the embedded one that needs no LLM.

Import what you need from the module that holds it: `from workbench.evaluation.judges.embedded import EmbeddedJudge`.
"""
