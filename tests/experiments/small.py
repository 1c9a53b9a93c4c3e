"""What small experiments are made of: a few short texts, and a judge that any text can be shown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from workbench.evaluation.judges.base import JudgedText, Rating
from workbench.models.cache import cache_root

CONCEPTS = {"sea": "waves and ships", "rain": "drops and clouds", "wind": "gales and sails"}
SPLITS = {"train": 8, "validation": 4, "evaluation": 6}


def write_concepts(folder: Path, *names: str) -> None:
    """A .jsonl file of these concepts, each with texts of its own."""
    rows = [
        {"concept": name, "category": category, "instruction": f"{name} {split} {i}?", "response": text, "split": split}
        for name in names
        for split, count in SPLITS.items()
        for i in range(count)
        for category, text in (
            ("positive", f"{CONCEPTS[name]} {split} {i}"),
            ("negative", f"nothing {name} {i} {split}"),
        )
    ]
    (folder / "concepts.jsonl").write_text("\n".join(map(json.dumps, rows)))


def cache_of_its_own(folder: Path) -> Path:
    """The folder as a cache with nothing in it but this machine's built-in models, which take long to convert."""
    models = cache_root() / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    if not (folder / "models").exists():
        (folder / "models").symlink_to(models)
    return folder


class ByLength:
    """Rates an answer by its words: a random model writes nothing that a real judge can be set up on."""

    name = "words"
    identity: ClassVar[dict[str, str]] = {"judge": "words"}

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        return [Rating(2.0 * (len(item.text) % 2), 1.0, 1.0) for item in items]


@dataclass(frozen=True)
class RatedByLength:
    """Makes what `recipe` makes, with this judge: so that it is in a worker too, which nothing patched here reaches."""

    recipe: Callable[[], Any]

    def __call__(self) -> Any:
        context = self.recipe()
        vars(context)["judge"] = ByLength()
        return context
