"""Tokenizers of the kinds that models have, built in memory, that know a few words."""

from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_tokenizer

WORDS = ["The", "capital", "of", "France", "is", "Paris", "world", "wor", "ld"]
SPACE = "▁"
CHARACTERS = sorted(set("".join(WORDS)) | set(".a\n[]user:istnd12"))


def fast(inner: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), (SPACE, -5.0)]
    pieces += [(SPACE + word, -1.0) for word in WORDS] + [(word, -3.0) for word in WORDS]
    pieces += [(character, -9.0) for character in CHARACTERS]
    return Tokenizer(models.Unigram(pieces, unk_id=0))


def llama2() -> Any:
    """The space is put in front of each text by the normalizer, as in Llama 2 and Mistral 0.1."""
    inner = unigram()
    inner.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    inner.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return fast(inner)


def sentencepiece() -> Any:
    """The space is put in front by the pre-tokenizer, as in T5 and Gemma 1."""
    inner = unigram()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first")
    inner.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="first")
    return fast(inner)


def gpt2() -> Any:
    """Byte-level pairs that know a few whole words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in ("Ġworld", "ĠParis", "Ġis"):
        merges += [(word[:cut], word[cut]) for cut in range(1, len(word))]
    merges = list(dict.fromkeys(merges))
    vocab = {token: number for number, token in enumerate(["<unk>", "<s>", "</s>", *alphabet])}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return fast(inner)


KINDS: dict[str, Callable[[], Any]] = {
    "llama 2": llama2,
    "sentencepiece": sentencepiece,
    "gpt-2": gpt2,
    "bytes": lambda: tiny_tokenizer(bos=False),
}
