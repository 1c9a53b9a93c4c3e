"""Word counts and logistic regression: how far surface words alone go (AxBench's BoW baseline, arXiv:2501.17148)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from workbench.artifacts.bag_of_words import BagOfWordsWeights
from workbench.data.items import DataError, Item
from workbench.data.labelled import Labelled, ModelAccess
from workbench.methods.capabilities import ScoresTexts
from workbench.methods.method import Method
from workbench.runs.fields import above


@dataclass(frozen=True)
class BagOfWords(Method[BagOfWordsWeights], ScoresTexts[BagOfWordsWeights]):
    """Detection only, on instruction and response.

    As published but for the score's scale: log-odds here, their probability there, so texts come in the same order.
    """

    label: ClassVar[str] = "Bag of words"
    source: ClassVar[str] = "arXiv:2501.17148"

    C: Annotated[float, above(0)] = 100.0
    """Inverse strength of the L2 penalty, AxBench's default."""

    def fit(self, data: Labelled) -> BagOfWordsWeights:
        """A weight for every word of the training texts."""
        if not data.items:
            raise DataError(f"{data.target.name!r}: a bag of words needs the texts, and there are only hidden states")
        rows = data.row.unique().tolist()
        counts = CountVectorizer()
        features = counts.fit_transform([_words(data.items[row]) for row in rows])
        model = LogisticRegression(C=self.C, max_iter=1000).fit(features, data.row_y.numpy())
        words = tuple(str(word) for word in counts.get_feature_names_out())
        weights, bias = torch.from_numpy(model.coef_[0].copy()), float(model.intercept_[0])
        return BagOfWordsWeights(self.origin(data), words, weights, bias)

    def detect_texts(
        self, artifact: BagOfWordsWeights, texts: Sequence[Item], through: ModelAccess | None = None
    ) -> Float[Tensor, "text"]:
        """The log-odds of each text."""
        counts = CountVectorizer(vocabulary=list(artifact.words)).transform([_words(text) for text in texts])
        scores = np.asarray(counts @ artifact.weights.numpy()) + artifact.bias
        return torch.from_numpy(scores).float()


def _words(item: Item) -> str:
    return f"{item.instruction} {item.response}"
