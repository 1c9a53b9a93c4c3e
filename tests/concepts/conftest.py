import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_data() -> Path:
    """The folder of public data sets that some tests read, given by WORKBENCH_SHARED_DATA."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("WORKBENCH_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set WORKBENCH_SHARED_DATA to a folder with public data sets")
    return folder
