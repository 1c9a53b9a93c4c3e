"""Every notebook runs from top to bottom, and is committed with its output."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_notebook_runs(path):
    import nbformat  # seconds, and only here
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    assert all(
        cell.outputs or not cell.source.strip().endswith(")") for cell in notebook.cells if cell.cell_type == "code"
    )
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent.parent}}).execute()
