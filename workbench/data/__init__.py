"""What is read and what it says: datasets of texts with targets, and the hidden states that a model has on them.

Import what you need from the module that holds it: `from workbench.data.packaged import packaged`.
"""
