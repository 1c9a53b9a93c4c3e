"""Short names of concepts for tables, heat maps and cards, made from their descriptions."""

from collections.abc import Mapping
from itertools import pairwise, takewhile

from workbench.text import shortened

_LETTERS = 44
_SHARED = 5
"""So many first words that another description has too are a manner of speaking, and are left out."""


def concept_labels(descriptions: Mapping[str, str]) -> dict[str, str]:
    """A label for each concept: its description, cut to 44 characters; its name where two labels would be equal."""
    words = {name: tuple(text.split()) for name, text in descriptions.items()}
    ordered, shared = sorted(words.values()), dict.fromkeys(words.values(), 0)
    for one, other in pairwise(ordered):  # who shares most first words with one is its neighbour
        n = sum(1 for _ in takewhile(lambda pair: pair[0].lower() == pair[1].lower(), zip(one, other, strict=False)))
        shared |= {one: max(shared[one], n), other: max(shared[other], n)}
    labels = {name: shortened(_told(text, shared[text]), _LETTERS) for name, text in words.items()}
    taken = list(labels.values())
    return {name: label if taken.count(label) == 1 else name for name, label in labels.items()}


def _told(words: tuple[str, ...], shared: int) -> str:
    """The words, without the first ones that are shared where these are many and not all."""
    return " ".join(words) if shared < _SHARED or shared == len(words) else f"… {' '.join(words[shared:])}"
