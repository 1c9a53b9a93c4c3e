"""`python -m workbench.report RUN_FOLDER` writes the report of a finished run again."""

from pathlib import Path

import tyro

from workbench.report.page import rewrite_report
from workbench.report.sections import rewrite_sheet


def rewrite(folder: Path) -> Path:
    """Write the report again from what the run folder holds: sheet.json, or story.json and results.json."""
    return rewrite_sheet(folder) if (folder / "sheet.json").exists() else rewrite_report(folder)


if __name__ == "__main__":
    print(tyro.cli(rewrite, config=(tyro.conf.PositionalRequiredArgs,)))
