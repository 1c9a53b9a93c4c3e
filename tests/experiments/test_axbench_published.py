import pytest

from experiments.axbench.published import PUBLISHED, SETTINGS, SOURCE, published_table, published_tables
from workbench.report.blocks import Missing
from workbench.report.cells import show_table


@pytest.mark.parametrize("measure", list(PUBLISHED))
def test_averages_are_those_of_the_settings(measure):
    for row in PUBLISHED[measure]:
        there = [value for value in row.settings if value is not None]
        if there:
            # The paper rounds each number to three decimals (win rates to one tenth of a percent).
            assert row.average == pytest.approx(sum(there) / len(there), abs=0.0016), row


def test_the_paper_ranks_as_its_tables_do():
    for rows in PUBLISHED.values():
        averages = [row.average for row in rows]
        assert averages == sorted(averages, reverse=True)
    assert PUBLISHED["detection"][0].method == "DiffMean"
    assert PUBLISHED["steering"][0].method == "Prompt"


def test_a_table_has_a_row_a_method_and_says_whose_numbers_they_are():
    for table in published_tables():
        assert len(table.columns) == len(SETTINGS) + 1
        assert len(table.rows) == 12
        assert SOURCE in table.caption
        assert "not measured in this run" in table.caption
        assert table.title.startswith("Published")


def test_a_number_the_paper_does_not_have_is_missing():
    table = published_table("steering")
    without = Missing("The paper has no number here.")
    assert dict(table.rows)["SFT"] == (0.637, 0.714, without, without, 0.676)


def test_the_markdown_has_the_numbers():
    text = show_table(published_table("detection")).markdown().replace("\\", "")
    assert "| ReFT-r1 | 0.952 | 0.965 | 0.966 | 0.869 | 0.938 |" in text
