"""`python -m workbench.report RUN_FOLDER` writes the report of a finished run again."""

import tyro

from workbench.report.page import rewrite_report

if __name__ == "__main__":
    print(tyro.cli(rewrite_report, config=(tyro.conf.PositionalRequiredArgs,)))
