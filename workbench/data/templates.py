"""How demonstrations and a question are written into one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.data.word_pairs import WordPair


@dataclass(frozen=True)
class Template:
    """The words around inputs and answers, each of which follows a space (arXiv:2310.15213, section 2)."""

    question: str = "Q:"
    """In front of an input."""
    answer: str = "A:"
    """In front of an answer."""
    between: str = "\n"
    """Behind an input."""
    after: str = "\n\n"
    """Behind an answer."""

    def prompt(self, demonstrations: Sequence[WordPair], query: str) -> str:
        """The demonstrations and the query, up to where its answer would begin."""
        shown = "".join(
            f"{self.question} {asked}{self.between}{self.answer} {said}{self.after}" for asked, said in demonstrations
        )
        return f"{shown}{self.question} {query}{self.between}{self.answer}"


TEMPLATES = (
    Template("Input:", "Output:"),
    Template("Question:", "Answer:", "\n\n", "\n\n\n"),
    Template("in:", "out:", " ", "\n"),
    Template("X:", "Y:", "; ", "\n"),
    Template("Word:", "Result:", "\n", "\n\n"),
    Template("Given", "we get", ", ", ".\n"),
    Template("Problem:", "Solution:", "\n", "\n---\n"),
    Template("x =", "y =", ", ", "\n"),
    Template("The word", "becomes", " ", ".\n"),
    Template("-", "->", " ", "\n"),
    Template("user:", "assistant:", "\n", "\n\n"),
    Template("(", "|", " ", ")\n"),
)
"""Other templates than the usual one, on which a vector is tried that it was not made with."""
SENTENCES = (
    'The word "{}", means',
    "When I think of {}, I think of",
    'Somebody asked about "{}", and I said',
    'The note said "{}", which stands for',
    "First there was {}, and then there was",
)
"""Natural text in which an input stands and no task is named."""
