"""The refusal direction (Arditi et al. 2024, arXiv:2406.11717): found by what the model's answers begin with."""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from steering.selection import BehaviourScore, SelectedDirection
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.models.model import Model


@dataclass(frozen=True)
class RefusalDirection(SelectedDirection):
    """The selected direction where an answer's first token shows the behaviour: log p(one of some) - log(1 - p).

    The tokens are those that `starts` begin with, "I" and "As" for refusals; by default those that the answers of the
    positive texts begin with more often than the others'. Texts whose answers are not given need `starts`.
    """

    label: ClassVar[str] = "Refusal direction"
    source: ClassVar[str] = "arXiv:2406.11717"

    starts: tuple[str, ...] = ()

    def score(self, model: Model, data: Labelled) -> BehaviourScore:
        """Log-odds that the answer begins so."""
        tokens = torch.tensor(self._starts(model, data))

        def log_odds(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row"]:
            log_p = logits.double().log_softmax(1)
            rest = log_p.index_fill(1, tokens, -torch.inf)
            return (log_p[:, tokens].logsumexp(1) - rest.logsumexp(1)).float()

        return log_odds

    def _starts(self, model: Model, data: Labelled) -> list[int]:
        if self.starts:
            ids = {text: model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in self.starts}
            if empty := [text for text, own in ids.items() if not own]:
                raise DataError(f"{self.label}: {empty[0]!r} among `starts` is no token of {model.name}")
            return sorted({own[0] for own in ids.values()})
        counts = {side: self._first_tokens(model, data, side) for side in (True, False)}
        shares = {side: {token: n / count.total() for token, n in count.items()} for side, count in counts.items()}
        found = sorted(token for token, share in shares[True].items() if share > shares[False].get(token, 0.0))
        if not found:
            raise DataError(
                f"{self.label} of {data.name!r}: answers of both sides begin alike, or there are none; give `starts`"
            )
        return found

    def _first_tokens(self, model: Model, data: Labelled, positive: bool) -> Counter[int]:
        rows = data.row[data.y == positive].unique().tolist()
        tokens = model.encode([data.items[row].conversation for row in rows])
        return Counter(row.ids[row.response] for row in tokens if row.response < len(row.ids))
