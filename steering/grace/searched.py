"""Attacks that are searched through the model that they attack: suffixes of tokens and of free embeddings, a push.

All look for what makes given complying answers likely, and know the defence as its owner does. They are the adaptive
attacks; families of text stand in `steering/grace/attacks.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steering.grace.guard import PROMPT, PromptGuard
from workbench.models.edits import Add
from workbench.models.model import Model
from workbench.models.positions import Layout, Positions
from workbench.models.scoring import label_logits, labels
from workbench.models.sites import Site
from workbench.models.stacking import Edits
from workbench.models.tokens import Tokens
from workbench.models.training import frozen
from workbench.runs.fields import SEED, above, at_least, check_fields

EMBEDDED = Site(0, "resid_pre")
PLACEHOLDER = " !"
"""What a suffix starts as, once for every place."""
EVADING = 5.0
"""Nats of an answer that a unit of a guard's logit is worth to an attacker, down to a logit of -CLEAR."""
CLEAR = 1.0


@dataclass(frozen=True)
class LatentPush:
    """A vector for each prompt, added to its tokens at one site: projected gradient descent towards complying.

    Its length is at most `radius` times the mean length of the prompt's states there (in the spirit of arXiv:2407.15549
    and of embedding attacks, arXiv:2402.09063).
    """

    site: Site
    radius: Annotated[float, above(0)] = 0.3
    steps: Annotated[int, at_least(1)] = 8

    def __post_init__(self) -> None:
        check_fields(self)

    def find(
        self, model: Model, prompts: Sequence[str], answers: Sequence[str], guard: PromptGuard | None = None
    ) -> Add:
        """The edit with a direction for each prompt, for generating from the same prompts. Gradients leave no trace.

        A guard of the model is evaded too. Edits in force are the defence's own, and come before the push.
        """
        tokens = model.tokenize(prompts, answers, chat=True)
        states = model.read(tokens, self.site, positions=PROMPT)
        lengths = states.x(self.site).float().norm(dim=1)
        limit = torch.stack([lengths[states.row == row].mean() for row in range(len(tokens))])[:, None] * self.radius
        found = torch.zeros(len(tokens), model.d_model)
        for _ in range(self.steps):
            slope, _ = _slopes(model, tokens, found, self._edit, guard)
            found = found - 2 / self.steps * limit * slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-12)
            found = found * (limit / found.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
        return self._edit(found)

    def _edit(self, direction: Float[Tensor, "row d"]) -> Add:
        return Add(site=self.site, direction=direction, positions=PROMPT)


@dataclass(frozen=True)
class SoftSuffix:
    """An embedding attack (arXiv:2402.09063): free vectors behind the request, each prompt its own.

    Signed gradient descent without a bound on what is added to the embeddings of as many placeholders.
    """

    length: Annotated[int, at_least(1)] = 8
    steps: Annotated[int, at_least(1)] = 40
    rate: Annotated[float, above(0)] = 0.1
    """Of a step, in the root mean square of the model's embeddings."""

    def __post_init__(self) -> None:
        check_fields(self)

    def suffixed(self, prompt: str) -> str:
        """The prompt with the placeholders behind it, that carry the vectors."""
        return prompt + PLACEHOLDER * self.length

    def find(
        self, model: Model, prompts: Sequence[str], answers: Sequence[str], guard: PromptGuard | None = None
    ) -> tuple[Add, ...]:
        """The edits, an embedding each, for generating from the `suffixed` prompts; of each row's the cheapest found.

        A guard of the model is evaded too. Edits in force are the defence's own. Raises ValueError where the chat
        template or the tokenizer does not leave the placeholders as they are.
        """
        tokens = model.tokenize([self.suffixed(prompt) for prompt in prompts], answers, chat=True)
        ids = model.tokenizer(PLACEHOLDER * self.length, add_special_tokens=False)["input_ids"]
        behind = self._behind(tokens, ids)

        def edits(vectors: Float[Tensor, "row vector d"]) -> tuple[Add, ...]:
            places = range(behind, behind - len(ids), -1)
            return tuple(
                Add(
                    site=EMBEDDED,
                    direction=vectors[:, k],
                    positions=Positions(f"prompt[-{place}:{-(place - 1) or ''}]"),
                )
                for k, place in enumerate(places)
            )

        size = float(model.backend.embeddings().input.float().square().mean().sqrt()) * self.rate
        at = torch.zeros(len(tokens), len(ids), model.d_model)
        best, least = at, torch.full((len(tokens),), torch.inf)
        for _ in range(self.steps + 1):
            slope, costs = _slopes(model, tokens, at, edits, guard)
            better = costs < least
            best, least = torch.where(better[:, None, None], at, best), torch.where(better, costs, least)
            at = at - size * slope.sign()
        return edits(best)

    def _behind(self, tokens: Tokens, ids: Sequence[int]) -> int:
        """How many tokens before the answer the placeholders begin, the same in each row."""
        found = {row.response - int(_last_of(list(row.ids[: row.response]), ids)[0]) for row in tokens}
        as_they_are = all(list(row.ids[row.response - max(found) :][: len(ids)]) == list(ids) for row in tokens)
        if len(found) > 1 or not as_they_are:
            raise ValueError(
                f"the tokenizer or the chat template changes {PLACEHOLDER * self.length!r} behind a prompt"
            )
        return found.pop()


@dataclass(frozen=True)
class SuffixSearch:
    """Greedy coordinate gradient (arXiv:2307.15043): a suffix of tokens that makes a given answer likely.

    At each step the `candidates` swaps of one token that the gradient ranks best, among `top` tokens of each place, are
    tried, and the best is kept if it is better.
    """

    length: Annotated[int, at_least(1)] = 8
    steps: Annotated[int, at_least(1)] = 20
    top: Annotated[int, at_least(1)] = 32
    candidates: Annotated[int, at_least(1)] = 32
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def find(self, model: Model, prompt: str, answer: str, guard: PromptGuard | None = None) -> tuple[str, list[float]]:
        """The prompt with the suffix behind it, and the cost after each step (first, before any); see `cost`.

        Without a guard the cost is the nll of the answer. Edits in force are the defence's own. The suffix is text:
        what it is cut into is looked at anew at every step.
        """
        generator = torch.Generator().manual_seed(self.seed)
        suffix = PLACEHOLDER * self.length
        losses = [float(self._costs(model, [prompt + suffix], answer, guard)[0])]
        for _ in range(self.steps):
            tried = list(dict.fromkeys(self._swaps(model, prompt, suffix, answer, generator, guard)))
            found = self._costs(model, [prompt + each for each in tried], answer, guard)
            best = int(found.argmin())
            if float(found[best]) < losses[-1]:
                suffix = tried[best]
            losses.append(min(float(found[best]), losses[-1]))
        return prompt + suffix, losses

    def _tokens(self, model: Model, prompts: Sequence[str], answer: str) -> Tokens:
        return model.tokenize(prompts, [answer] * len(prompts), chat=True)

    def _costs(
        self, model: Model, prompts: Sequence[str], answer: str, guard: PromptGuard | None
    ) -> Float[Tensor, "prompt"]:
        found = model.score(self._tokens(model, prompts, answer)).nll.cpu()
        return found if guard is None else found + evading(guard.logits(model, prompts)).cpu()

    def _swaps(
        self,
        model: Model,
        prompt: str,
        suffix: str,
        answer: str,
        generator: torch.Generator,
        guard: PromptGuard | None,
    ) -> list[str]:
        """Suffixes with one token exchanged, each drawn among the best of a place."""
        ids = model.tokenizer(suffix, add_special_tokens=False)["input_ids"]
        row = self._tokens(model, [prompt + suffix], answer)
        places = _last_of(list(row.rows[0].ids[: row.rows[0].response]), ids)
        slopes = self._exchanging(model, row, guard)[places]  # [place, vocab]
        best = (-slopes).topk(min(self.top, slopes.shape[1])).indices
        found = []
        for _ in range(self.candidates):
            place = int(torch.randint(len(places), (1,), generator=generator))
            choice = int(torch.randint(best.shape[1], (1,), generator=generator))
            swapped = list(ids)
            swapped[place] = int(best[place, choice])
            found.append(model.tokenizer.decode(swapped, skip_special_tokens=True))
        again = model.tokenizer(found, add_special_tokens=False)["input_ids"]
        kept = [text for text, read in zip(found, again, strict=True) if len(read) == len(ids)]
        return kept or [suffix]  # as text it is read in other tokens, and would grow

    def _exchanging(self, model: Model, tokens: Tokens, guard: PromptGuard | None) -> Float[Tensor, "pos vocab"]:
        """What exchanging each token for each other one would do to the cost, to first order."""
        matrix = model.backend.embeddings().input
        kept: list[Tensor] = []

        def hook(h: Tensor) -> Tensor:
            kept.append(h.detach().clone().requires_grad_())
            return kept[0]

        with frozen(model), torch.enable_grad(), model.backend.hooked([(EMBEDDED, hook)]):
            cost(model, tokens, guard).sum().backward()
        assert kept[0].grad is not None
        return kept[0].grad[0].float() @ matrix.float().T


def _slopes(
    model: Model,
    tokens: Tokens,
    at: Float[Tensor, "row *vector d"],
    edits: Callable[[Tensor], Edits],
    guard: PromptGuard | None,
) -> tuple[Float[Tensor, "row *vector d"], Float[Tensor, "row"]]:
    """What the cost of each row gains by the vectors of its edits, and the cost."""
    leaf = at.clone().requires_grad_()
    with frozen(model), torch.enable_grad(), model.edited(edits(leaf)):
        costs = cost(model, tokens, guard)
        costs.sum().backward()
    assert leaf.grad is not None
    return leaf.grad, costs.detach().cpu()


def cost(model: Model, tokens: Tokens, guard: PromptGuard | None = None) -> Float[Tensor, "row"]:
    """What an attacker makes small: the nll of each row's answer, and of a guard what `evading` says.

    Differentiable in edits and hooks; all rows in one pass.
    """
    layout = Layout.of(tokens, list(range(len(tokens)))).to(model.device)
    if guard is None:
        return _nll(model, layout)
    seen: list[Tensor] = []

    def hook(h: Tensor) -> Tensor:
        seen.append(guard.of_layout(h, layout))
        return h

    with model.backend.hooked([(guard.site, hook)]):
        return _nll(model, layout) + evading(seen[0])


def evading(logits: Float[Tensor, "row"]) -> Float[Tensor, "row"]:
    """0 where a guard is passed with some room, and rising with its logit."""
    return EVADING * (logits + CLEAR).relu()


def _nll(model: Model, layout: Layout) -> Float[Tensor, "row"]:
    label = labels(layout)
    logits = label_logits(model, layout, label).float()
    target = layout.ids[:, 1:][label[:, 1:]]
    losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    owner = layout.rows[:, None].expand_as(label)[label].to(losses.device)
    return torch.zeros(len(label), device=losses.device).index_add(0, owner, losses)


def _last_of(ids: Sequence[int], part: Sequence[int]) -> Int[Tensor, "place"]:
    """Where a part stands in a row of ids for the last time; the end of the row where it is cut otherwise."""
    n = len(part)
    starts = [at for at in range(len(ids) - n, -1, -1) if list(ids[at : at + n]) == list(part)]
    first = starts[0] if starts else max(0, len(ids) - n)
    return torch.arange(first, min(first + n, len(ids)))
