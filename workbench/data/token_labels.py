"""From a class a character to a class a token, whatever tokenizer cuts the text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.data.items import DataError
from workbench.models.encoding import AHEAD
from workbench.models.tokens import Tokens

NONE = -1


def token_classes(
    tokenizer: Any, tokens: Tokens, texts: Sequence[str], values: Sequence[np.ndarray | None]
) -> list[np.ndarray]:
    """For each row an int array with the class of every token, -1 outside the last turn and where there is none.

    `texts` are the last turns of the rows and `values[i]` has a class a character of `texts[i]`. A token has the class
    of its first character that is no white space. Raises DataError where the tokenizer does not say which characters a
    token stands for, or cuts the text by itself in another way than within its conversation.
    """
    found = []
    for number, (row, text, classes) in enumerate(zip(tokens, texts, values, strict=True)):
        start = row.response if row.response < len(row.ids) else row.prefix
        spans = _spans(tokenizer, text, row.ids[start:], number)
        labels = np.full(len(row.ids), NONE)
        if classes is not None:
            begins = [next((at for at in range(*span) if not text[at].isspace()), NONE) for span in spans]
            labels[start : start + len(spans)] = [NONE if at == NONE else classes[at] for at in begins]
        found.append(labels)
    return found


def _spans(tokenizer: Any, text: str, ids: Sequence[int], number: int) -> list[tuple[int, int]]:
    if not getattr(tokenizer, "is_fast", False):
        raise DataError("a class a token needs a fast tokenizer, which says which characters each token stands for")
    for ahead in ("", *AHEAD):
        cut = tokenizer(ahead + text, add_special_tokens=False, return_offsets_mapping=True)
        spans = [(start - len(ahead), end - len(ahead)) for start, end in cut["offset_mapping"]]
        first = sum(start < 0 for start, _ in spans)
        own = cut["input_ids"][first:]
        if list(own) == list(ids[: len(own)]):  # behind it a turn that is closed has an end
            return spans[first:]
    raise DataError(
        f"row {number}: the tokenizer cuts {text[:60]!r} by itself in another way than within its conversation, so "
        "that its tokens have no certain characters"
    )
