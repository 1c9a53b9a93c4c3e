"""A planted world: an encoder that sees words and nothing else, and concepts that are words."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.items import Item, Label, Split, Target
from workbench.evaluation.judges.encoder import SentenceEncoder

NAMES = ("sea", "music", "trains")
SIGNS = {"sea": "ship sail harbour", "music": "violin chord melody", "trains": "railway engine platform"}
TOPICS = {
    "train": ("bread", "sleep", "money", "garden", "school", "friend", "summer", "paper"),
    "validation": ("coffee", "winter", "letter", "bicycle"),
    "evaluation": ("pencil", "holiday"),
}
FILLER = ("often", "people", "think", "about", "this", "and", "find", "that", "small", "steps", "help", "more")
SPLITS: tuple[Split, ...] = ("train", "validation", "evaluation")


class WordEncoder(SentenceEncoder):
    """The normalised sum of fixed random vectors, one for each word; a short one for filler."""

    def __init__(self) -> None:
        super().__init__(network=None, tokenizer=None)

    @property
    def digest(self) -> str:  # type: ignore[override]
        return "words"

    def encode_with_middle(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        vectors = np.array([self._encode(text) for text in texts], dtype=np.float32).reshape(-1, 64)
        return vectors, np.zeros_like(vectors)

    def word_states(self, texts: Sequence[Sequence[str]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """It sees no order among words."""
        return [np.zeros((len(words), 64)) for words in texts], [np.arange(len(words)) for words in texts]

    def _cached(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Nothing is left in the machine's cache, where it would take the place of what takes long to encode."""
        return self.encode_with_middle(texts)

    def _encode(self, text: str) -> np.ndarray:
        vectors = [_vector(word) for word in text.lower().replace(".", " ").replace("?", " ").split()]
        total = np.sum(vectors, axis=0) if vectors else np.ones(64)
        return (total / np.linalg.norm(total)).astype(np.float32)


@cache
def _vector(word: str) -> np.ndarray:
    weight = 0.2 if word in FILLER or word in ("tell", "me", "about") else 1.0
    return weight * np.random.default_rng(list(word.encode())).normal(size=64)


def sentence(*said: str, seed: int = 0) -> str:
    """The words among filler, in an order of their own."""
    random = np.random.default_rng([seed, *" ".join(said).encode()])
    return " ".join(random.permutation([*said, *random.choice(FILLER, 8)]).tolist()) + "."


def only(k: int, label: Label) -> list[Label]:
    return [label if j == k else Label.ABSENT for j in range(len(NAMES))]


def world(style: str = "truly") -> Dataset:
    """Three concepts; whatever carries one also has the word `style`, which plain texts never have."""
    rows: list[tuple[str, str, Split, list[Label]]] = []
    for split in SPLITS:
        for topic in TOPICS[split]:
            asked = f"Tell me about {topic}?"
            rows.append((asked, sentence(topic), split, [Label.NEGATIVE] * len(NAMES)))
            for k, name in enumerate(NAMES):
                said = sentence(topic, style, *SIGNS[name].split())
                rows.append((asked, said, split, only(k, Label.POSITIVE)))
    for k, name in enumerate(NAMES):
        hard = sentence(SIGNS[name].split()[0])
        rows.append(("Tell me about rivals?", hard, "evaluation", only(k, Label.HARD_NEGATIVE)))
    concepts = tuple(Target(name, f"all about {name}", "text") for name in NAMES)
    labels = np.array([label for *_, label in rows], dtype=np.int8)
    items = [Item.exchange(asked, said) for asked, said, *_ in rows]
    return Dataset.of_labels("world", items, concepts, labels, [split for _, _, split, _ in rows])
