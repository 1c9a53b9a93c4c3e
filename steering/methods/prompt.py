"""Steering by asking: the concept in front of the instruction (AxBench's prompt baseline, arXiv:2501.17148)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.artifacts.prompt import Prompt
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import Prompts
from workbench.methods.method import Method
from workbench.models.conversation import require_text
from workbench.runs.fields import some


@dataclass(frozen=True)
class PromptSteering(Method[Prompt], Prompts[Prompt]):
    """Ask the model to weave the concept into its answer. No strength, and nothing to detect with."""

    label: ClassVar[str] = "Prompt"
    source: ClassVar[str] = "arXiv:2501.17148"

    template: Annotated[str, some()] = (
        "Answer the question below. In your answer, talk about {concept} wherever you can."
    )
    """Words in front of the instruction; `{concept}` is replaced by the concept's description."""

    def fit(self, data: Labelled) -> Prompt:
        """The words with the concept filled in."""
        return Prompt(self.origin(data), self.template.replace("{concept}", data.target.description))

    def instruct(self, artifact: Prompt, instruction: str) -> str:
        """The words, then the instruction. Raises ValueError for an instruction that is not one text."""
        require_text(instruction, "an instruction")
        return f"{artifact.text}\n\n{instruction}"
