import pytest

from workbench.html import html_facts, html_table


def test_everything_is_escaped():
    table = html_table(["<a>"], [["</td><script>"], ["\x00"]], caption="<b>")
    assert table == (
        "<table><caption>&lt;b&gt;</caption><thead><tr>"
        '<th scope="col">&lt;a&gt;</th></tr></thead><tbody>'
        "<tr><td>&lt;/td&gt;&lt;script&gt;</td></tr><tr><td>␀</td></tr></tbody></table>"
    )


def test_numbers_are_rounded_and_missing_is_a_dash():
    assert "<td>0.123</td><td>–</td><td>7</td>" in html_table(["a", "b", "c"], [[0.12345, None, 7]])


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 columns got a row of 1"):
        html_table(["a", "b"], [["x"]])


def test_facts_are_escaped_and_shown_as_in_a_table():
    assert html_facts({"<a>": 0.12345, "b": None}, caption="<b>") == (
        "<table><caption>&lt;b&gt;</caption><tbody><tr><th>&lt;a&gt;</th><td>0.123</td></tr>"
        "<tr><th>b</th><td>–</td></tr></tbody></table>"
    )
