import re
from typing import Any

import pytest

from workbench.data.items import DataError, Item, Target, slug, text_key, unique_slugs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SQL database queries", "sql-database-queries"),
        ("Café & naïve décor", "cafe-naive-decor"),
        ("../../etc/passwd", "etc-passwd"),
        ("<script>alert(1)</script>", "script-alert-1-script"),
        ("C:\\con\0nul", "c-con-nul"),
    ],
)
def test_slug_keeps_only_what_is_safe_in_file_names_and_html(text: str, expected: str) -> None:
    assert slug(text) == expected
    Target(slug(text), text, "text")


def test_slug_without_latin_letters_is_a_hash_of_the_text() -> None:
    one, other = slug("音楽"), slug("天気")
    assert one != other
    assert re.fullmatch(r"concept-[0-9a-f]{8}", one)


def test_slug_of_half_a_character_does_not_raise() -> None:
    assert slug("\ud800").startswith("concept-")


def test_slug_is_cut_between_words() -> None:
    assert slug("abcdefghi " * 10) == "-".join(["abcdefghi"] * 6)
    assert slug(("a" * 9 + " ") * 5 + "a" * 10 + " b") == "-".join(["a" * 9] * 5 + ["a" * 10])
    assert slug("x" * 100) == "x" * 60


def test_unique_slugs_number_what_is_taken_and_keep_the_order() -> None:
    assert unique_slugs(["a b", "A-B", "a b 2", "a, b"]) == ("a-b", "a-b-2", "a-b-2-2", "a-b-3")


@pytest.mark.parametrize("name", ["", "../x", "Sea", "a b", "-a", "a--b", "a\n", "é", "a" * 81])
def test_target_names_are_slugs(name: str) -> None:
    with pytest.raises(DataError, match=r"is no slug of at most 80 characters; write small letters"):
        Target(name, "ships", "text")


def test_target_needs_a_description() -> None:
    with pytest.raises(DataError, match=r"target 'sea' has an empty description"):
        Target("sea", " \n", "text")


def test_text_key_ignores_case_and_white_space_only() -> None:
    assert text_key(" Straße\n\tNORD ") == text_key("STRASSE nord")
    assert text_key("a b") != text_key("ab")
    assert text_key("résumé") != text_key("resume")


@pytest.mark.usefixtures("types_unchecked")
def test_messages_in_the_place_of_a_text_are_refused() -> None:
    messages: Any = [{"role": "user", "content": "why?"}]
    with pytest.raises(DataError, match=r"an item is made from a list; expected a Conversation, as Conversation\.chat"):
        Item(messages)
    with pytest.raises(ValueError, match="is a list; expected one text"):
        Item.exchange(messages, "because")
