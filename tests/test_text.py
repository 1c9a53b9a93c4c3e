import math

import pytest
from markdown_it import MarkdownIt

from workbench.text import listed, markdown, number, number_of, shortened, tied, visible

NASTY = [
    "plain",
    "a | b",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![alt](https://example.org/x.png)",
    "`code` **bold** _it_ ~~gone~~ $x^2$",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "&lt; &amp;",
    "back\\slash \\| pipe",
    "ends with \\",
    "\\1. literally",
    "[ref]: https://example.org",
    "=== ",
    "] (x) ![y](https://example.org/x.png)",
    "](x) ![y](https://example.org/x.png",
    "ends with !",
]


@pytest.fixture
def github() -> MarkdownIt:
    """A reference renderer: CommonMark with raw HTML, tables and strikethrough."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def shown(tokens) -> str:
    """The text of an inline token, which must hold nothing but text."""
    (inline,) = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for child in inline.children}
    assert kinds <= {"text", "text_special"}, kinds
    return "".join(child.content for child in inline.children)


@pytest.mark.parametrize("text", NASTY)
def test_markdown_shows_a_paragraph_as_it_is(github, text):
    tokens = github.parse(markdown(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert shown(tokens) == text.strip()


@pytest.mark.parametrize("text", NASTY)
def test_markdown_stays_in_its_table_cell(github, text):
    tokens = github.parse(f"| head | {markdown(text)} |\n| :-- | :-- |\n| a | {markdown(text)} |")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert shown([cells[1]]) == shown([cells[3]]) == text.strip()


@pytest.mark.parametrize("text", NASTY)
def test_markdown_stays_in_the_name_of_an_image(github, text):
    (inline,) = [token for token in github.parse(f"![{markdown(text)}](figures/a.svg)") if token.type == "inline"]
    (image,) = inline.children
    assert (image.type, image.attrs["src"]) == ("image", "figures/a.svg")
    assert {child.type for child in image.children} <= {"text", "text_special"}
    assert "".join(child.content for child in image.children) == text.strip()


def test_markdown_is_one_line():
    assert markdown("a\n\n# b\r\n\tc") == "a \\# b c"


def test_visible_leaves_nothing_that_html_xml_or_utf8_refuses():
    everything = "".join(map(chr, range(0x10000)))
    cleaned = visible(everything)
    cleaned.encode("utf-8")
    left = {ord(c) for c in cleaned}
    assert not left & ({*range(32), 0x7F, *range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF} - {9, 10})


def test_visible_keeps_text_and_shows_control_characters():
    assert visible("é 日本 🦀\n\tok") == "é 日本 🦀\n\tok"
    assert visible("a\x00b\x1b[0m\ud800") == "a␀b␛[0m�"


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (0.934, 2, "0.93"),
        (1, 2, "1.00"),
        (-0.004, 2, "0.00"),
        (-0.5, 2, "−0.50"),
        (0.0, None, "0"),
        (0.6, None, "0.6"),
        (0.012, None, "0.012"),
        (3.14159, None, "3.14"),
        (1234.5, None, "1234"),
        (100.0, None, "100"),
        (-2.0, None, "−2"),
    ],
)
def test_number(value, digits, expected):
    assert number(float(value), digits) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="a missing number must be None"):
        number(value, 2)


def test_listed():
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_shortened():
    assert shortened("a  b\nc", 5) == "a b c"
    assert shortened("abcdef", 5) == "abcd…"


def test_tied_joins_what_belongs_together():
    assert tied("95 % of n = 10") == "95\N{NO-BREAK SPACE}% of n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}10"
    assert tied("[−0.1, 0.3] n") == "[−0.1,\N{NO-BREAK SPACE}0.3] n"
    assert tied("a, b") == "a, b"
    assert tied("Cost (s) ↓") == "Cost (s)\N{NO-BREAK SPACE}↓"


def test_counts_have_their_plural():
    assert [number_of(n, "concept") for n in (0, 1, 2)] == ["0 concepts", "1 concept", "2 concepts"]
    assert [number_of(n, "family", "families") for n in (1, 3)] == ["1 family", "3 families"]
