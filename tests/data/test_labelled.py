import pytest
import torch

from workbench.data.items import DataError, Target
from workbench.data.labelled import Labelled, Samples
from workbench.models.sites import Site

pytestmark = pytest.mark.usefixtures("types_unchecked")
ROW = torch.arange(4)
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("values", [[0.0, 1.0, 0.0, 1.0], [0.7, 0.0, 1.0, 0.2], [0, 1, 0, 1]])
def test_numbers_are_no_labels(values: list[float]) -> None:
    """As an index, 0 and 1 would choose other tokens, and .7 has no truth."""
    sea = Target("sea", "the sea")
    for make in (
        lambda: Labelled(X, torch.tensor(values), ROW, sea, Site(0)),
        lambda: Samples(sea, X, torch.tensor(values), ROW, ROW),
    ):
        with pytest.raises(DataError, match=r"'sea' is of kind binary and has .* values; expected bool, for example"):
            make()


def test_labels_are_no_numbers() -> None:
    size = Target("size", "a size", kind="number")
    with pytest.raises(DataError, match="'size' is of kind number and has bool values; expected float64"):
        Samples(size, X, ROW > 1, ROW, ROW)
