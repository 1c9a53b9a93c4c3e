"""The contract that every method and probe keeps: fit, and what it can do with what was fitted.

Import what you need from the module that holds it: `from workbench.methods.method import AdditiveMethod`.
"""
