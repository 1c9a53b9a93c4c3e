"""A folder for every run: resumable, shareable, reproducible.

Import what you need from the module that holds it: `from workbench.runs.run import Run`.
"""
