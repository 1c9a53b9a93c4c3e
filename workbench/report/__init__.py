"""What people look at: a document of sections, from which come one self-contained page, Markdown and figures.

Import what you need from the module that holds it: `from workbench.report.render import write_report`.
"""
