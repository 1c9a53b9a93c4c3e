"""What the tests of the report share.

Nothing of the workbench is imported at the top: its modules must be imported after pytest has set up shape checking.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def rows() -> list[Any]:
    from tests.report.synthetic import synthetic_rows

    return synthetic_rows()


@pytest.fixture
def document() -> Any:
    from tests.report.synthetic import synthetic_document

    return synthetic_document()


@pytest.fixture
def folder(tmp_path: Path, rows: list[Any]) -> Path:
    from tests.report.synthetic import make_run

    return make_run(tmp_path, rows)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.report.chrome import chromium

    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
