"""A tiny model whose unembedding holds planted concepts, and word pairs and contexts of its words on disk."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_module

CONCEPTS, PAIRS, D = ("English - French", "noun - plural", "male - female"), 20, 32
WORDS = ["".join(letters) for letters in product("bdfgklmnprst", "aeiou", "bdgklmnpt")]  # 540


def planted_rows() -> Tensor:
    """Isotropic words, the target of concept k's pairs behind its base along axis k, all seen through a bent map."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(WORDS) + 1, D, generator=generator)
    for concept in range(len(CONCEPTS)):
        for base, target in numbers(concept):
            rows[target] = rows[base] + 0.2 * torch.randn(D, generator=generator)
            rows[target, concept] += 4
    axes = [torch.linalg.qr(torch.randn(D, D, generator=generator)).Q for _ in range(2)]
    return rows @ (axes[0] * torch.logspace(0, 1.5, D) @ axes[1]).T / 10


def numbers(concept: int) -> Iterator[tuple[int, int]]:
    """The tokens of each pair of a concept."""
    for pair in range(PAIRS):
        first = 1 + 2 * (concept * PAIRS + pair)
        yield first, first + 1


def write_model(folder: Path) -> None:
    """A token for each word, so that all pairs are pairs of single tokens."""
    vocab = {"<unk>": 0} | {f"Ġ{word}": number for number, word in enumerate(WORDS, start=1)}
    inner = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>").save_pretrained(folder)
    module = tiny_module("llama")
    module.resize_token_embeddings(len(vocab))
    module.lm_head.weight.data = planted_rows()
    module.save_pretrained(folder)


def write_data(folder: Path) -> None:
    """Pairs and contexts in the published formats."""
    word = ["<unk>", *WORDS]
    for concept, name in enumerate(CONCEPTS):
        lines = [f"{word[base]}\t{word[target]}" for base, target in numbers(concept)]
        (folder / f"[{name}].txt").write_text("\n".join(lines) + "\n")
    (folder / "[few - pairs].txt").write_text("bab\tbad\nbag\tsomething\n")
    records = []
    for number in range(24):
        before = " ".join(WORDS[number * 7 + offset] for offset in range(5))
        sides = [f"{before} {word[token]}" for token in next(iter(numbers(0)))]
        first, second = (one.rsplit(" ", 1)[1] for one in sides)
        fields = {"lang0": "en", "lang1": "fr", "word0": first, "word1": second}
        records.append(json.dumps(fields | {"contexts0": [f" {sides[0]}"], "contexts1": [f" {sides[1]} "]}))
    (folder / "en-fr.jsonl").write_text("\n".join(records))
