"""Texts by how much they share with another text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float


class TextIndex:
    """Texts, ready to be compared with others: TF-IDF cosine of parts of words."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer: Any = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
        self._rows: Any = self._vectorizer.fit_transform(texts)

    def scores(self, text: str) -> Float[np.ndarray, "text"]:
        """The cosine of each text with another one; 0 where they share no part of a word."""
        return np.asarray((self._rows @ self._vectorizer.transform([text]).T).todense())[:, 0]
