"""Token rows that know where prefix, prompt and response lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One text as token ids, in three regions: prefix (BOS and chat header), prompt and response.

    The prefix is `ids[:prefix]`, the prompt `ids[prefix:response]`, the response `ids[response:]`; a row whose response
    starts at its end has none.
    """

    ids: tuple[int, ...]
    prefix: int = 0
    response: int = -1

    def __post_init__(self) -> None:
        if self.response == -1:
            object.__setattr__(self, "response", len(self.ids))
        if not 0 <= self.prefix <= self.response <= len(self.ids):
            raise ValueError(
                f"a row of {len(self.ids)} tokens cannot have its prefix end at {self.prefix} and its response start "
                f"at {self.response}"
            )


@dataclass(frozen=True)
class Padded:
    """A rectangle of rows: ids and the mask of real tokens, both [batch, pos]; the mask is made from lengths."""

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]

    @property
    def index(self) -> Int[Tensor, "batch pos"]:
        """The absolute position of each token in its row; -1 at padding."""
        return torch.where(self.mask, self.mask.long().cumsum(1) - 1, -1)


@dataclass(frozen=True)
class Tokens:
    """A batch of rows, kept ragged; `pad` makes the rectangle when a forward needs one."""

    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if not row.ids:
                raise ValueError(f"row {number} has no tokens; an empty text cannot be read, leave it out")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, rows: Sequence[int]) -> "Tokens":
        return Tokens(tuple(self.rows[row] for row in rows))

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens in each row."""
        return [len(row.ids) for row in self.rows]

    def pad(self, side: str = "right", pad_id: int = 0) -> Padded:
        """Fill every row up to the longest one on the `left` or `right`."""
        width, batch = max(self.lengths), len(self.rows)
        ids = torch.full((batch, width), pad_id)
        mask = torch.zeros((batch, width), dtype=torch.bool)
        for number, row in enumerate(self.rows):
            span = slice(width - len(row.ids), width) if side == "left" else slice(0, len(row.ids))
            ids[number, span] = torch.tensor(row.ids)
            mask[number, span] = True
        return Padded(ids, mask)

    def batches(self, budget: int) -> Iterator[list[int]]:
        """Row numbers in batches of similar length, each at most `budget` padded tokens (or one row)."""
        batch: list[int] = []
        for row in sorted(range(len(self)), key=lambda row: (self.lengths[row], row)):
            if batch and self.lengths[row] * (len(batch) + 1) > budget:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch


def prepends_bos(tokenizer: Any) -> bool:
    """Whether this tokenizer puts BOS in front of a text by itself."""
    ids = tokenizer("x")["input_ids"]
    return tokenizer.bos_token_id is not None and len(ids) > 1 and ids[0] == tokenizer.bos_token_id


def encode(tokenizer: Any, texts: Sequence[str], responses: Sequence[str] | None = None) -> Tokens:
    """Plain text, without a chat template: BOS (if the tokenizer uses one), the text, and the response if given."""
    bos = [tokenizer.bos_token_id] if prepends_bos(tokenizer) else []
    prompts = [_with_bos(bos, _ids(tokenizer, text)) for text in texts]
    return _join(tokenizer, prompts, [len(bos)] * len(prompts), responses)


def encode_chat(tokenizer: Any, prompts: Sequence[str], responses: Sequence[str] | None = None) -> Tokens:
    """Each prompt as a user turn of the tokenizer's chat template, then the response if given (no closing tokens).

    The prefix is what the template puts before any user text. Raises ValueError when there is no chat template, or
    when it leaves the user's text out.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("this tokenizer has no chat template; pass chat=False to use plain text")
    bos = [tokenizer.bos_token_id] if prepends_bos(tokenizer) else []
    one, two = (_chat_ids(tokenizer, text, bos) for text in ("1", "2"))
    if one == two:
        raise ValueError("this tokenizer's chat template leaves the user's text out; pass chat=False to use plain text")
    header = one[: _common(one, two)]
    rows = [_chat_ids(tokenizer, text, bos) for text in prompts]
    return _join(tokenizer, rows, [_common(header, ids) for ids in rows], responses)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _chat_ids(tokenizer: Any, prompt: str, bos: list[int]) -> list[int]:
    turn = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return _with_bos(bos, _ids(tokenizer, text))


def _with_bos(bos: list[int], ids: list[int]) -> list[int]:
    """Put BOS in front unless the text (or its chat template) spelled it out."""
    return ids if ids[: len(bos)] == bos else bos + ids


def _common(header: list[int], ids: list[int]) -> int:
    """How many leading tokens agree: one fewer where a text's first token merged with the header's last."""
    return next((place for place, (a, b) in enumerate(zip(header, ids, strict=False)) if a != b), len(header))


def _join(tokenizer: Any, prompts: list[list[int]], prefixes: list[int], responses: Sequence[str] | None) -> Tokens:
    pairs = list(zip(prompts, prefixes, strict=True))
    if responses is None:
        return Tokens(tuple(Row(tuple(ids), prefix) for ids, prefix in pairs))
    if len(responses) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses")
    answers = [_ids(tokenizer, text) for text in responses]
    if not all(answers):
        raise ValueError(
            f"the response of row {answers.index([])} has no tokens; it cannot be read or scored, leave it out"
        )
    rows = zip(pairs, answers, strict=True)
    return Tokens(tuple(Row((*ids, *answer), prefix, len(ids)) for (ids, prefix), answer in rows))
