"""What an endpoint has answered, kept on disk: one JSON file for each prompt, model, address and parameters."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.rubric import Reply
from workbench.runs.files import StorageError, digest, read_sealed, write_sealed


@dataclass(frozen=True)
class Question:
    """All that an endpoint's answer depends on; `parameters` are those of the request, such as temperature."""

    base_url: str
    model: str
    parameters: Mapping[str, Any]
    prompt: str

    @property
    def key(self) -> str:
        """sha256 of the whole question, in hexadecimal."""
        return digest(self)


@dataclass(frozen=True)
class ReplyCache:
    """A folder of questions and their replies. Failures are not kept, so that another run asks again."""

    folder: Path

    def get(self, question: Question) -> Reply | None:
        """The reply to exactly this question, or None. A file that is damaged counts as absent, and is asked again."""
        try:
            record = read_sealed(self._path(question), "it is asked again")
            return Reply(**record["reply"]) if record["question"] == asdict(question) else None
        except (StorageError, KeyError, TypeError):
            return None

    def put(self, question: Question, reply: Reply) -> None:
        """Keep a reply, atomically. Raises JudgeError when the folder cannot be written."""
        try:
            write_sealed(self._path(question), {"question": asdict(question), "reply": asdict(reply)})
        except StorageError as error:
            raise JudgeError(f"the judge's cache is not writable: {error}") from error

    def _path(self, question: Question) -> Path:
        return self.folder / question.key[:2] / f"{question.key}.json"
