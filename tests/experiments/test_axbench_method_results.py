import pytest

from tests.report.synthetic import METHODS, results_of, row
from workbench.report.errors import ReportError
from workbench.report.estimate import Estimate


def test_a_question_finds_its_row():
    results = results_of(
        row("probe", "m", 0.9, 0.05, n=10), row("probe", "m", 0.1, concept="sea"), row("lat", "m", 0.2)
    )
    assert results.estimate("m", "probe") == Estimate(0.9, 0.9 - 0.05, 0.9 + 0.05, 10)
    assert results.estimate("m", "probe", "sea") == Estimate(0.1, None, None, None)
    assert results.estimate("m", "pca") is None


def test_missing_is_not_unrecorded():
    results = results_of(row("probe", "m", None))
    assert results.recorded("m", "probe")
    assert results.estimate("m", "probe") is None
    assert not results.recorded("m", "lat")


def test_zero_is_a_number():
    results = results_of(row("probe", "m", 0.0, layer=0, seed=0, n=0), row("probe", "c", 0.0, strength=0.0))
    assert results.estimate("m", "probe") == Estimate(0.0, None, None, 0)
    assert results.curve("c", "probe") == ((0.0, Estimate(0.0, None, None, None)),)


def test_the_layer_that_is_asked_for_is_reported():
    rows = (row("probe", "m", 0.1, layer=0), row("probe", "m", 0.2, layer=5), row("probe", "cost", 3.0))
    assert results_of(*rows, layer=0).estimate("m", "probe") == Estimate(0.1, None, None, None)
    assert results_of(*rows, layer=0).estimate("cost", "probe") == Estimate(3.0, None, None, None)


def test_two_layers_without_a_choice_are_refused():
    results = results_of(row("probe", "m", 0.1, layer=1), row("probe", "m", 0.2, layer=5))
    with pytest.raises(ReportError, match=r"m of 'probe' .* has 2 rows \(layer 1.*layer 5.*choose a layer"):
        results.estimate("m", "probe")


def test_seeds_are_averaged_unless_one_row_speaks_for_all():
    seeds = [row("probe", "m", value, concept="sea", seed=seed, n=1) for seed, value in enumerate((0.25, 0.75, None))]
    assert results_of(*seeds).estimate("m", "probe", "sea") == Estimate(0.5, None, None, 2)
    spoken = results_of(*seeds, row("probe", "m", 0.9, 0.1, concept="sea", n=3))
    assert spoken.estimate("m", "probe", "sea") == Estimate(0.9, 0.9 - 0.1, 0.9 + 0.1, 3)


def test_a_curve_goes_from_weak_to_strong_and_leaves_out_what_is_missing():
    values = {1.0: 0.3, 0.2: 0.1, 0.6: None}
    results = results_of(*(row("probe", "c", value, strength=strength) for strength, value in values.items()))
    assert [(strength, estimate.value) for strength, estimate in results.curve("c", "probe")] == [
        (0.2, 0.1),
        (1.0, 0.3),
    ]


def test_a_method_that_is_not_described_is_refused():
    with pytest.raises(ReportError, match="'stray'"):
        results_of(row("stray", "m", 0.1))


def test_has_looks_at_values():
    results = results_of(row("probe", "m", None), row("probe", "k", 0.1, concept="sea"))
    assert not results.has("m")
    assert not results.has("k")
    assert results.has("k", by_concept=True)


def test_a_method_is_named_once_and_the_baseline_is_one_of_them():
    with pytest.raises(ReportError, match="names a method twice"):
        results_of(methods=(*METHODS, METHODS[0]))
    with pytest.raises(ReportError, match="does not describe the method 'nobody'"):
        results_of(baseline="nobody")
    assert results_of().note("probe").label == "Linear probe"
