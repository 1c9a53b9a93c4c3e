"""`python -m workbench.report RUN_FOLDER` writes the report of a finished run again."""

import sys
from pathlib import Path

import tyro

from workbench.report.errors import ReportError
from workbench.report.render import rewrite_report
from workbench.runs.errors import RunError, StorageError


def rewrite(folder: Path) -> None:
    """Write the report again from the report.json in the run folder; prints where it is."""
    try:
        print(rewrite_report(folder))
    except (ReportError, RunError, StorageError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    tyro.cli(rewrite, config=(tyro.conf.PositionalRequiredArgs,))
