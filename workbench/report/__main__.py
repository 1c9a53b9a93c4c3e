"""`python -m workbench.report RUN_FOLDER` writes the report of a finished run again."""

from pathlib import Path

import tyro

from workbench.report.render import rewrite_report


def rewrite(folder: Path) -> Path:
    """Write the report again from the report.json in the run folder."""
    return rewrite_report(folder)


if __name__ == "__main__":
    print(tyro.cli(rewrite, config=(tyro.conf.PositionalRequiredArgs,)))
