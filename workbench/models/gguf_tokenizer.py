"""The tokenizer that a GGUF file describes in its metadata, as the files of a Hugging Face folder.

Two kinds are rebuilt: byte-level BPE (`tokenizer.ggml.model` = "gpt2") and SentencePiece BPE with byte fallback
("llama"). They are written as a plain `tokenizer.json`, which transformers loads as it stands: a model's own tokenizer
class would put its pre-tokenizer in place of the file's.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from workbench.models.cache import WeightsError
from workbench.models.gguf_reader import Gguf

Merge = tuple[str, str]

_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types
_BLANK = "\u2581"  # SentencePiece's space
_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _Splitter:
    """How a byte-level tokenizer cuts a text before its pairs are merged."""

    first: Callable[[], pre_tokenizers.PreTokenizer] | None = None
    """What cuts before GPT-2's cut, or in its place where `by_itself`."""
    by_itself: bool = False
    normalizer: Callable[[], normalizers.Normalizer] | None = None
    whole_words: bool = False
    """A piece that is a token is taken whole, whatever the merges make of it."""

    def pre_tokenizer(self) -> pre_tokenizers.PreTokenizer:
        """The steps, the last of which writes bytes as letters."""
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not self.by_itself)
        return bytes_ if self.first is None else pre_tokenizers.Sequence([self.first(), bytes_])


def _split(pattern: str) -> Callable[[], pre_tokenizers.PreTokenizer]:
    return lambda: pre_tokenizers.Split(Regex(pattern), "isolated")


_SPLITTERS = {
    "gpt-2": _Splitter(),
    "smollm": _Splitter(lambda: pre_tokenizers.Digits(individual_digits=True)),
    "qwen2": _Splitter(_split(_QWEN2), by_itself=True, normalizer=normalizers.NFC),
    "tekken": _Splitter(_split(_TEKKEN), by_itself=True, whole_words=True),
}
"""By the name that llama.cpp gives them: SmolLM, Qwen 2 and 3, and Mistral since Nemo."""
_KEEPS_SPACES = ("<unk>", "<s>", "<|endoftext|>")
"""The special tokens of Phi-3 behind which white space counts; all others swallow it, as in llama.cpp."""


def write_tokenizer(source: Gguf, folder: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and, where the file has one, `chat_template.jinja`.

    Raises `WeightsError` for a kind of tokenizer that is not rebuilt here.
    """
    tokenizer = build_tokenizer(source)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    tokens = source.several("tokenizer.ggml.tokens", str)
    config: dict[str, Any] = {f"{role}_token": tokens[token_id] for role, token_id in special_ids(source).items()}
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": _adds(source, "bos"),
        "add_eos_token": _adds(source, "eos"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": source.whole(f"{source.text('general.architecture')}.context_length"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    if "tokenizer.chat_template" in source.metadata:
        (folder / "chat_template.jinja").write_text(source.text("tokenizer.chat_template"), encoding="utf-8")


def special_ids(source: Gguf) -> dict[str, int]:
    """Role (`bos`, `eos`, `unk`, `pad`) -> token id, for the roles that the file fills.

    Raises `WeightsError` for an id that no token has.
    """
    keys = {role: f"tokenizer.ggml.{name}_token_id" for role, name in _ROLES.items()}
    ids = {role: source[key] for role, key in keys.items() if key in source.metadata}
    n_tokens = len(source.several("tokenizer.ggml.tokens", str))
    for role, token_id in ids.items():
        if type(token_id) is not int or not 0 <= token_id < n_tokens:
            raise source.unlike(keys[role], f"the number of one of its {n_tokens} tokens")
    return ids


def build_tokenizer(source: Gguf) -> Tokenizer:
    """The tokenizer of a GGUF file; raises `WeightsError` for a kind that is not rebuilt here."""
    kinds = {"gpt2": _byte_level, "llama": _sentencepiece}
    kind = source.text("tokenizer.ggml.model")
    if kind not in kinds:
        raise WeightsError(f"{source.path} has a {kind!r} tokenizer; {', '.join(kinds)} can be rebuilt.")
    try:
        tokenizer = kinds[kind](source)
    except WeightsError:
        raise
    except Exception as error:  # the class that tokenizers raises, for merges of tokens that there are not
        raise WeightsError(f"{source.path} has a tokenizer that cannot be rebuilt: {error}.") from error
    _add_special_tokens(tokenizer, source)
    _add_bos_and_eos(tokenizer, source)
    return tokenizer


def merges_of(tokens: Sequence[str]) -> list[Merge]:
    """The merges that a SentencePiece vocabulary implies, first to last.

    A piece can be merged from any two pieces that spell it, and the piece that comes first in the vocabulary is merged
    first; within a piece, the longest left part first. The order that transformers derives from a SentencePiece model.
    """
    known, lengths = set(tokens), {len(token) for token in tokens}
    splits = (
        (token[:i], token[i:])
        for token in tokens
        for i in range(len(token) - 1, 0, -1)
        if i in lengths and len(token) - i in lengths  # else a long token would be cut at each of its letters
    )
    return [(left, right) for left, right in splits if left in known and right in known]


def _byte_level(source: Gguf) -> Tokenizer:
    name = source.text("tokenizer.ggml.pre")
    if name not in _SPLITTERS:
        raise WeightsError(
            f"{source.path} splits text in the way {name!r}; {', '.join(_SPLITTERS)} can be rebuilt. "
            "Load the original Hugging Face folder instead."
        )
    vocabulary = {token: index for index, token in enumerate(source.several("tokenizer.ggml.tokens", str))}
    merges = [_pair(merge) for merge in source.several("tokenizer.ggml.merges", str)]
    splitter = _SPLITTERS[name]
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, ignore_merges=splitter.whole_words))
    if splitter.normalizer is not None:
        tokenizer.normalizer = splitter.normalizer()
    tokenizer.pre_tokenizer = splitter.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pair(merge: str) -> Merge:
    left, _, right = merge.partition(" ")
    return left, right


def _sentencepiece(source: Gguf) -> Tokenizer:
    # llama.cpp writes runs of spaces, which the user of SentencePiece defined, with real spaces
    tokens = [
        token.replace(" ", _BLANK) if token.isspace() else token
        for token in source.several("tokenizer.ggml.tokens", str)
    ]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    source["tokenizer.ggml.unknown_token_id"]  # which it needs
    unknown = tokens[special_ids(source)["unk"]]
    model = BPE(vocab=vocabulary, merges=merges_of(tokens), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    leading_space = source.flag("tokenizer.ggml.add_space_prefix", True)  # llama.cpp's default
    # as llama.cpp and Llama 2 have it: in front of the text and again after each special token
    prepend = [normalizers.Prepend(_BLANK)] if leading_space else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", _BLANK)])
    strip = [decoders.Strip(" ", 1, 0)] if leading_space else []
    steps = [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _add_special_tokens(tokenizer: Tokenizer, source: Gguf) -> None:
    """Keep control tokens and user-defined tokens whole wherever they stand in a text."""
    tokens, types = source.several("tokenizer.ggml.tokens", str), source.several("tokenizer.ggml.token_type", int)
    if len(types) != len(tokens):
        raise WeightsError(
            f"{source.path} has {len(tokens)} tokens and {len(types)} types of tokens, expected one each."
        )
    typed = list(zip(tokens, types, strict=True))
    known = tokenizer.get_vocab(with_added_tokens=False)
    strips = source.text("general.architecture") == "phi3"
    special = [
        AddedToken(token, normalized=False, special=True, rstrip=strips and token not in _KEEPS_SPACES)
        for token, kind in typed
        if kind == _CONTROL
    ]
    # the runs of spaces are left to the merges, which see the text after its spaces were replaced
    plain = [token for token, kind in typed if kind == _USER_DEFINED and token in known]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in plain])


def _adds(source: Gguf, role: str) -> bool:
    """Whether text is given this token; where the file is silent, llama.cpp adds BOS to SentencePiece only."""
    silent = role == "bos" and source.text("tokenizer.ggml.model") == "llama"
    return source.flag(f"tokenizer.ggml.add_{role}_token", silent)


def _add_bos_and_eos(tokenizer: Tokenizer, source: Gguf) -> None:
    ids = {role: token_id for role, token_id in special_ids(source).items() if role in ("bos", "eos")}
    tokens = source.several("tokenizer.ggml.tokens", str)
    added = {role: tokens[token_id] for role, token_id in ids.items() if _adds(source, role)}
    if not added:
        return
    first, last = ([added[role]] if role in added else [] for role in ("bos", "eos"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*first, "$A", *last],
        pair=[*first, "$A", *last, *(f"{token}:1" for token in first), "$B:1", *(f"{token}:1" for token in last)],
        special_tokens=[(token, ids[role]) for role, token in added.items()],
    )
