"""The parts of a conversation that a vector may act in: which tokens are thinking, and which call a tool."""

from collections.abc import Sequence
from typing import Any, Literal

from workbench.models.positions import Positions

Phase = Literal["prompt", "answer", "thinking", "tool"]
"""What stands before the answer, the answer, and what the model's template marks inside of it."""

MARKS: dict[Phase, tuple[tuple[str, str], ...]] = {
    "thinking": (
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<thought>", "</thought>"),
        ("<reasoning>", "</reasoning>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|channel|>analysis<|message|>", "<|end|>"),
    ),
    "tool": (
        ("<tool_call>", "</tool_call>"),
        ("<function_call>", "</function_call>"),
        ("<seed:tool_call>", "</seed:tool_call>"),
        ("<start_function_call>", "<end_function_call>"),
        ("<|tool_call_start|>", "<|tool_call_end|>"),
        ("<|START_ACTION|>", "<|END_ACTION|>"),
        ("<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"),
    ),
}
"""What begins and ends a phase, as models write it."""


def positions_in(phases: Sequence[Phase], tokenizer: Any) -> Positions:
    """The tokens in some phases of a conversation; thinking and tool calls are those of the answer.

    Raises ValueError for a phase that neither the tokenizer's chat template nor its added tokens mark.
    """
    marked = {phase: _between(phase, tokenizer) for phase in MARKS} if {*phases} != {"prompt"} else {}
    for phase in phases:
        if phase in MARKS and not marked[phase]:
            opening, closing = MARKS[phase][0]
            having = ", ".join(["prompt", "answer", *(each for each in MARKS if marked[each])])
            raise ValueError(
                f"this model's chat template does not mark the phase {phase!r}, as {opening} and {closing} would; "
                f"its phases are {having}"
            )
    inside = [term for phase in marked if phase in phases for term in marked[phase]]
    parts = []
    if "answer" in phases:
        parts.append("-".join(["response", *(term for terms in marked.values() for term in terms)]))
    if inside:
        parts.append("+".join(inside) + "-prefix-prompt")
    if "prompt" in phases:
        parts.append("prompt")
    return Positions("+".join(parts))


def _between(phase: Phase, tokenizer: Any) -> list[str]:
    """A term for each pair of marks that the model has."""
    template, added = str(tokenizer.chat_template or ""), tokenizer.get_added_vocab()
    pairs = [pair for pair in MARKS[phase] if all(mark in template or mark in added for mark in pair)]
    return [f"between({';'.join(_ids(mark, phase, tokenizer) for mark in pair)})" for pair in pairs]


def _ids(mark: str, phase: Phase, tokenizer: Any) -> str:
    """The ids of a mark. Raises ValueError for one that has others beside a line break: it would not be found."""
    by_itself, in_lines = (
        ",".join(map(str, tokenizer(text, add_special_tokens=False)["input_ids"])) for text in (mark, f"\n{mark}\n")
    )
    if f",{by_itself}," not in f",{in_lines},":
        raise ValueError(
            f"{mark}, which marks the phase {phase!r}, has other tokens beside a line break in this model's tokenizer, "
            "so that the phases of an answer cannot be told apart; give positions, such as response"
        )
    return by_itself
