"""Labelled text: concepts, the texts that carry them, and readers of the formats they come in.

Import what you need from the module that holds it: `from workbench.concepts.packaged import packaged`.
"""
