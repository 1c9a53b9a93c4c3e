"""A judge that runs here: the rubric answered by any model that the workbench can load."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from workbench.evaluation.judges import rubric
from workbench.evaluation.judges.base import JudgedText, JudgeError, Rating
from workbench.evaluation.judges.rubric import Reply
from workbench.models.encoding import encode, encode_chat
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.runs.fields import at_least, check_fields
from workbench.runs.files import JSON


@dataclass(frozen=True)
class LocalJudge:
    """Asks a local model, greedily, three prompts for each text, all texts in shared batches.

    A prompt that is longer than the model's context is not asked, and its rating is missing.

    Raises JudgeError for settings that cannot work.
    """

    model: Model
    max_new_tokens: Annotated[int, at_least(1)] = 128
    """Room for the reasoning and the rating; an answer that ends before its rating is missing."""
    batch_size: Annotated[int, at_least(1)] = 16

    def __post_init__(self) -> None:
        check_fields(self, error=JudgeError)

    @property
    def name(self) -> str:
        """The model's name, marked as local."""
        return f"{self.model.name} (local)"

    @property
    def identity(self) -> dict[str, JSON]:
        """The model, the rubric and the room for an answer."""
        return {"judge": "local", **self.model.identity, "max_new_tokens": self.max_new_tokens, "rubric": rubric.DIGEST}

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        """One rating for each item."""
        return rubric.rate(items, self._answer)

    def _answer(self, prompts: list[str]) -> list[Reply]:
        encoded = encode_chat if self.model.tokenizer.chat_template else encode
        tokens, context = encoded(self.model.tokenizer, prompts), self.model.context
        room = [context is None or length + self.max_new_tokens <= context for length in tokens.lengths]
        fitting = [number for number, fits in enumerate(room) if fits]
        sampling = Sampling(max_new_tokens=self.max_new_tokens)
        made = self.model.generate(tokens[fitting], sampling=sampling, batch_size=self.batch_size)
        texts = {number: answer.text for number, answer in zip(fitting, made, strict=True)}
        too_long = f"the prompt and its answer do not fit the {context} tokens that {self.model.name} reads"
        return [Reply(texts[number]) if number in texts else Reply(None, too_long) for number in range(len(prompts))]
