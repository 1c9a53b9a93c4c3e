"""One small comparison for all tests of the wiring."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.axbench import METHODS
from experiments.axbench.layer_results import LayerResults
from tests.tiny import tiny_model
from tests.wiring.comparing import MARKED, Comparison


@pytest.fixture(scope="package")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(METHODS, "marked", MARKED)
        made = Comparison(tiny_model(), tmp_path_factory.mktemp("wiring"))
        made.write()
        yield made


@pytest.fixture(scope="package")
def finished(comparison: Comparison) -> Path:
    """The folder of a run as it should be."""
    return comparison.run()


@pytest.fixture(scope="package")
def found(comparison: Comparison, finished: Path) -> LayerResults:
    """What that run would have written its report from."""
    return next(results for results in comparison.seen if results.context.run.folder == finished)
