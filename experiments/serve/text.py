"""Text that is shown while it is being written, and how single tokens are spelled."""

import codecs
from collections.abc import Sequence
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from workbench.models.encoding import continued

_UNFINISHED = "\ufffd"
_BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}


class TextStream:
    """The text of one row as it grows, let out as far as no later token can change it.

    What may be the beginning of a stop text, and bytes of a character that is not whole yet, wait. Each token is let
    out with the first piece that has a part of it.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._starts: list[int] = []
        self._length = 0
        self._shown = 0
        self._let_out = 0

    def grow(self, ids: Sequence[int]) -> tuple[str, int]:
        """Given all that the row has written: the text that is new and certain, and how many tokens come with it."""
        text = self._decoded(ids)
        end = max(self._shown, len(text) - _uncertain(text, self._stop))
        return self._next(text, end, sum(start < end for start in self._starts))

    def end(self, ids: Sequence[int], text: str) -> tuple[str, int]:
        """The rest of the row's final text, which a stop text may have cut off, and the tokens that come with it."""
        n_tokens = len(ids)
        if continued(self._tokenizer, ids) != text:
            while n_tokens and len(self._certain(ids[: n_tokens - 1])) >= len(text):
                n_tokens -= 1
        return self._next(text, len(text), n_tokens)

    def _certain(self, ids: Sequence[int]) -> str:
        return continued(self._tokenizer, ids).rstrip(_UNFINISHED)

    def _decoded(self, ids: Sequence[int]) -> str:
        text = continued(self._tokenizer, ids)
        self._starts += [self._length] * (len(ids) - len(self._starts))
        self._length = len(text.rstrip(_UNFINISHED))
        return text

    def _next(self, text: str, end: int, n_tokens: int) -> tuple[str, int]:
        piece, more = text[self._shown : end], max(0, n_tokens - self._let_out)
        self._shown, self._let_out = end, self._let_out + more
        return piece, more


def _uncertain(text: str, stop: Sequence[str]) -> int:
    """How many of the last characters may still change or be cut off."""
    whole = text.rstrip(_UNFINISHED)
    begun = (size for word in stop for size in range(len(word) - 1, 0, -1) if whole.endswith(word[:size]))
    return len(text) - len(whole) + max(begun, default=0)


def token_bytes(tokenizer: Any, token: int) -> bytes | None:
    """What a token stands for, which need not be whole characters; None where the vocabulary does not say."""
    piece, text = tokenizer.convert_ids_to_tokens(token), tokenizer.decode([token], skip_special_tokens=False)
    if piece is None:
        return None
    if _UNFINISHED not in text:
        is_word = piece.startswith("▁")  # which stands behind a space, if not at the beginning of a text
        return (continued(tokenizer, [token], skip_special_tokens=False) if is_word else text).encode()
    if len(piece) == 6 and piece.startswith("<0x"):
        return bytes.fromhex(piece[3:5])
    return bytes(_BYTE_OF[each] for each in piece) if all(each in _BYTE_OF for each in piece) else None


def token_text(tokenizer: Any, token: int) -> str:
    r"""A token as text; bytes that are no whole characters as `bytes:\xe2\x80`, so that each has its own."""
    spelled = token_bytes(tokenizer, token)
    if spelled is None:
        return f"token_id:{token}"
    try:
        return spelled.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token; of a character that is several tokens, all with the last one. Special ones have none."""
    decoder, special = codecs.getincrementaldecoder("utf-8")("replace"), {*tokenizer.all_special_ids}
    spelled = [b"" if token in special else token_bytes(tokenizer, token) or b"" for token in ids]
    return [decoder.decode(word, at == len(ids) - 1) for at, word in enumerate(spelled)]


def places_in(tokenizer: Any, ids: Sequence[int], text: str) -> list[int]:
    """Where each token begins in the text that was cut into these: special tokens count where the text spells them."""
    places, place, special = [], 0, {*tokenizer.all_special_ids}
    for token, piece in zip(ids, pieces(tokenizer, ids), strict=True):
        places.append(min(place, len(text)))
        # a special token or a space that the tokenizer put there is not in the text
        spellings = (token_text(tokenizer, token), "") if token in special else (piece, piece.removeprefix(" "))
        place += len(next((each for each in spellings if text.startswith(each, place)), piece))
    return places
