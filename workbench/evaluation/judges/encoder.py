"""An independent sentence encoder: all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv:1908.10084; Apache-2.0)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModel, AutoTokenizer

from workbench.models.weights import encoder_folder

MAX_TOKENS = 256
"""The length that the encoder was made for; longer texts are cut."""


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """Turns texts into unit vectors whose dot product is their similarity."""

    module: Any
    tokenizer: Any

    @classmethod
    def load(cls) -> "SentenceEncoder":
        """The packaged encoder in float32, fetched on first use. Raises WeightsError."""
        folder = encoder_folder()
        module = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval()
        return cls(module, AutoTokenizer.from_pretrained(folder))

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch_size: int = 32) -> Float[np.ndarray, "text 384"]:
        """The mean of the token states of each text, at unit norm; texts of similar length share a batch."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"] if texts else []
        found = np.empty((len(ids), self.module.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            padded = self.tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
            states = self.module(**padded).last_hidden_state  # [text, pos, d]
            weight = padded["attention_mask"].float()
            mean = (weight[:, None] @ states)[:, 0] / weight.sum(1, keepdim=True)
            found[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return found
