"""A row that the engine works at."""

from dataclasses import dataclass, field

from experiments.serve.tasks import Ended, Listener, Task, Token
from experiments.serve.text import TextStream
from workbench.models.tokens import Row


@dataclass(eq=False)
class LiveRow:
    """A row that has not ended."""

    ticket: int
    number: int
    task: Task
    listener: Listener
    stream: TextStream
    tokens: list[Token] = field(default_factory=list)
    told: int = 0
    """How many of its tokens went out in pieces."""
    ended: Ended | None = None
    """Set while only the reading of its text is missing."""

    @property
    def text_row(self) -> Row:
        """What a pass runs over: the prompt, or with it the answer, once that is whole."""
        prompt = self.task.prompt
        if self.ended is None:
            return prompt
        return Row((*prompt.ids, *(token.id for token in self.ended.tokens)), prompt.prefix, len(prompt.ids))
