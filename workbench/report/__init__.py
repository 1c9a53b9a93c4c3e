"""What people look at: one self-contained page, the same tables as Markdown, and the figures beside them.

Import what you need from the module that holds it: `from workbench.report.page import write_report`.
"""
