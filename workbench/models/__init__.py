"""Language models whose named places can be read and edited.

Import what you need from the module that holds it: `from workbench.models.load import load`.
"""
