"""What a model is given to read or to continue: turns of a conversation, or bare text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.text import did_you_mean

USER, ASSISTANT = "user", "assistant"
ROLES = (USER, ASSISTANT, "system", "developer", "tool")
"""Those that chat templates usually know."""

Message = Mapping[str, Any]
"""A chat message as most programs write it: `{"role": ..., "content": ...}`, both text."""


def require_text(value: object, what: str) -> None:
    """Raises ValueError unless a value is one text: a template would write a list of messages as Python does."""
    if not isinstance(value, str):
        raise ValueError(
            f"{what} is a {type(value).__name__}; expected one text. Several chat messages make a conversation: "
            "Conversation.chat(messages)"
        )


def require_characters(text: str, what: str) -> None:
    """Raises ValueError for a text with half a character, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise ValueError(
            f"{what} has half a character (a lone surrogate) at {problem.start}; repair it or leave it out"
        ) from problem


@dataclass(frozen=True)
class Turn:
    """One message: who speaks (`user`, `assistant`, `system` or what else the chat template knows) and the text.

    Raises ValueError for an empty role, one that is nearly a usual one, and for a role or text that is no text.
    """

    role: str
    text: str

    def __post_init__(self) -> None:
        require_text(self.role, "the role of a turn")
        require_text(self.text, f"the text of a turn of the {self.role}")
        if not self.role:
            raise ValueError(f"a turn has no role, expected for example 'user'; its text is {self.text[:40]!r}")
        if not self.role.startswith(ROLES) and (near := did_you_mean(self.role, ROLES)):
            raise ValueError(f"a turn has the role {self.role!r}{near}; its text is {self.text[:40]!r}")

    @classmethod
    def parse(cls, message: "Turn | Message") -> "Turn":
        """Read `{"role": ..., "content": ...}`; a Turn is returned as it is. Raises ValueError for anything else."""
        if isinstance(message, Turn):
            return message
        if not isinstance(message, Mapping) or {*message} != {"role", "content"}:
            raise ValueError(f"{message!r} is no message; expected {{'role': ..., 'content': ...}}")
        return cls(message["role"], message["content"])


@dataclass(frozen=True)
class Conversation:
    """Turns of a conversation, or bare text that no chat template is put around; hashable.

    `is_open` says that the last turn, the assistant's, is to be continued: no closing tokens follow it. `bare`,
    `exchange` and `chat` build the usual ones. Raises ValueError where there are both or neither of turns and text,
    and for an open turn that is not the assistant's or has no turn before it.
    """

    turns: tuple[Turn, ...] = ()
    text: str = ""
    is_open: bool = False

    def __post_init__(self) -> None:
        require_text(self.text, "a bare text")
        if bool(self.turns) == bool(self.text):
            raise ValueError(
                "a conversation has turns or a bare text that is not empty, not both; got "
                f"{len(self.turns)} turns and the text {self.text[:40]!r}"
            )
        if self.is_open and (len(self.turns) < 2 or self.turns[-1].role != ASSISTANT):
            roles = ", ".join(turn.role for turn in self.turns) or "none"
            raise ValueError(f"only an assistant's turn behind another turn can be open; the turns' roles are: {roles}")

    @classmethod
    def bare(cls, text: str) -> "Conversation":
        """Text without roles. Raises ValueError for the empty text."""
        return cls(text=text)

    @classmethod
    def exchange(cls, instruction: str, response: str) -> "Conversation":
        """The user's instruction and the assistant's response, which is left open."""
        return cls((Turn(USER, instruction), Turn(ASSISTANT, response)), is_open=True)

    @classmethod
    def chat(cls, turns: Sequence[Turn | Message], *, is_open: bool = False) -> "Conversation":
        """Any turns, as Turn or as `{"role": ..., "content": ...}`. Raises ValueError for none and as `Turn.parse`."""
        if not turns:
            raise ValueError("a conversation has no turns; expected at least one, or Conversation.bare(text)")
        return cls(tuple(Turn.parse(turn) for turn in turns), is_open=is_open)

    @property
    def is_bare(self) -> bool:
        """Whether this is text without turns."""
        return not self.turns

    @property
    def instruction(self) -> str:
        """The last user turn's text; empty for bare text, and where the user says nothing."""
        return self._last(USER)

    @property
    def response(self) -> str:
        """The last assistant turn's text, open or not, empty if there is none; the text itself for bare text."""
        return self.text if self.is_bare else self._last(ASSISTANT)

    @property
    def text_key(self) -> str:
        """The same for conversations that differ in case and white space only: by roles and texts of all turns."""
        if self.is_bare:
            return _normalised(self.text)
        return "\n".join(f"{_normalised(turn.role)}\t{_normalised(turn.text)}" for turn in self.turns)

    def _last(self, role: str) -> str:
        return next((turn.text for turn in reversed(self.turns) if turn.role == role), "")


PromptLike = str | Conversation | Sequence[Message]
"""A text, a Conversation, or a list of chat messages."""


def as_conversation(prompt: object, *, chat: bool) -> Conversation:
    """A prompt as a Conversation; a text becomes a user's turn if it is a `chat`, bare text otherwise.

    Raises ValueError for what is none of the three, and as Conversation does.
    """
    if isinstance(prompt, Conversation):
        return prompt
    if isinstance(prompt, str):
        return Conversation((Turn(USER, prompt),)) if chat else Conversation.bare(prompt)
    if not isinstance(prompt, Sequence):
        raise ValueError(
            f"{prompt!r} is no prompt; expected a text, a Conversation or a list of chat messages (of several prompts "
            "each is a list of its own)"
        )
    return Conversation.chat(prompt)


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
