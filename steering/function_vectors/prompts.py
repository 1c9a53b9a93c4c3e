"""In-context prompts as tokens, each with the first token of its answer."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.data.templates import Template
from workbench.data.word_pairs import WordPair
from workbench.models.core import Core
from workbench.models.encoding import prepends_bos
from workbench.models.tokens import Row, Tokens

_START = "<|endoftext|>"


@dataclass(frozen=True, eq=False)
class InContextPrompts:
    """Prompts that end where their answers would begin."""

    tokens: Tokens
    target: Int[Tensor, "prompt"]
    """The first token of each answer, as it is cut behind its prompt."""

    @classmethod
    def encode(cls, model: Core, texts: Sequence[str], answers: Sequence[str]) -> "InContextPrompts":
        """Bare texts, behind "<|endoftext|>" where the tokenizer has it and puts no BOS in front (as published).

        Each answer follows a space. Raises ValueError as `Core.tokenize`.
        """
        known = _START in model.tokenizer.get_vocab() and not prepends_bos(model.tokenizer)
        started = [_START * known + text for text in texts]
        rows = model.tokenize(started, [f" {answer}" for answer in answers], chat=False)
        prompts = Tokens(tuple(Row(row.ids[: row.response], row.prefix) for row in rows))
        return cls(prompts, torch.tensor([row.ids[row.response] for row in rows]))

    @classmethod
    def ask(cls, model: Core, template: Template, queries: Sequence[WordPair]) -> "InContextPrompts":
        """Questions without demonstrations."""
        return cls.encode(model, [template.prompt((), asked) for asked, _ in queries], [said for _, said in queries])

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Sequence[int]) -> "InContextPrompts":
        return InContextPrompts(self.tokens[rows], self.target[list(rows)])


@dataclass(frozen=True)
class Shown:
    """Demonstrations and the question behind them."""

    demonstrations: tuple[WordPair, ...]
    query: WordPair

    @classmethod
    def draw(cls, pairs: Sequence[WordPair], queries: Sequence[WordPair], shots: int, seed: int) -> "list[Shown]":
        """Up to `shots` demonstrations for each query, drawn from the `pairs` with other inputs."""
        drawn, found = random.Random(seed), []
        for query in queries:
            others = [pair for pair in pairs if pair[0] != query[0]]
            found.append(cls(tuple(drawn.sample(others, min(shots, len(others)))), query))
        return found

    def shuffled(self, seed: int) -> "Shown":
        """The same demonstrations with their answers dealt out anew; one may stay where it was (as published).

        Not all of them, where there are two different ones.
        """
        if len({said for _, said in self.demonstrations}) < 2:
            return self
        asked, said = zip(*self.demonstrations, strict=True)
        drawn, mixed = random.Random(seed), [*said]
        while mixed == [*said]:
            mixed = drawn.sample(said, len(said))
        return Shown(tuple(zip(asked, mixed, strict=True)), self.query)


def encode_shown(model: Core, template: Template, shown: Sequence[Shown]) -> InContextPrompts:
    """These prompts as tokens."""
    texts = [template.prompt(each.demonstrations, each.query[0]) for each in shown]
    return InContextPrompts.encode(model, texts, [each.query[1] for each in shown])


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """How a model answers: log-probability of each answer's first token in nats, and how many tokens come before it.

    Those are the likelier ones and, as greedy decoding takes them, those as likely whose id is lower: with rank 0 the
    answer is what is written.
    """

    log_p: Float[Tensor, "prompt"]
    rank: Int[Tensor, "prompt"]

    @classmethod
    def of(cls, logits: Float[Tensor, "prompt vocab"], target: Int[Tensor, "prompt"]) -> "AnswerScores":
        """From the logits behind each prompt. Where they are not numbers, every token comes before the answer."""
        mine = logits.gather(1, target[:, None])
        lower = torch.arange(logits.shape[1], device=target.device) < target[:, None]
        before = ((logits > mine) | ((logits == mine) & lower)).sum(1)
        rank = torch.where(logits.isnan().any(1), logits.shape[1], before)
        return cls(logits.log_softmax(1).gather(1, target[:, None])[:, 0], rank)

    @property
    def correct(self) -> Float[Tensor, "prompt"]:
        """1 where the answer's first token is the likeliest one."""
        return (self.rank == 0).float()
