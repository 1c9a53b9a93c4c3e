import numpy as np
import pytest

from experiments.axbench.off_concept import off_concept_map
from experiments.axbench.results import MethodNote
from workbench.evaluation.steering import Trial

NOTE = MethodNote(name="diffmean", label="DiffMean", source="arXiv:2310.06824")
LABELS = {"sea": "the sea", "music": "music"}


def trial(concept: str, instruction: str, method: str = "diffmean") -> Trial:
    return Trial(method, concept, instruction, 1.0, 18, 0)


def test_each_cell_is_the_mean_change_of_one_concept_under_another():
    changes = {
        trial("sea", "Why?"): np.array([1.0, 0.0]),
        trial("sea", "How?"): np.array([3.0, -1.0]),
        trial("sea", "When?"): np.array([np.nan, np.nan]),  # nothing was written
        trial("music", "Why?"): np.array([0.5, 4.0]),
        trial("music", "Why?", "pca"): np.array([9.0, 9.0]),
    }
    shown = off_concept_map(changes, NOTE, LABELS)
    assert shown is not None
    assert shown.rows == shown.columns == ("the sea", "music")
    assert shown.values == ((2.0, -0.5), (0.5, 4.0))
    assert (shown.low, shown.high) == (0.0, 4.0)


@pytest.mark.parametrize("changes", [{}, {trial("sea", "Why?"): np.array([np.nan, np.nan])}])
def test_without_an_answer_there_is_no_map(changes):
    assert off_concept_map(changes, NOTE, LABELS) is None
