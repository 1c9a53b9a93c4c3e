"""Fit a direction for every concept of a list, block by block, into one dictionary.

Only the texts of one block are read at a time, and a finished block is on disk: memory does not grow with the number of
concepts, and a killed run goes on where it stopped. A folder of AxBench's is itself read a block at a time.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.registry import Entry
from workbench.runs.fields import at_least, check_fields, some

NAME = "directions"
METHODS = {
    "diffmean": Entry("steering.methods.diffmean:DiffMean"),
    "diffmean_text": Entry("steering.methods.diffmean:DiffMean", (("weighting", "text"),)),
    "reft_r1": Entry("steering.methods.reft_r1:ReFTr1"),
}
"""The methods that leave a Vector for each concept and are worth fitting on thousands."""


@dataclass(frozen=True)
class Config:
    """Fit a direction for every concept of a list, block by block, into one dictionary.

    --out FILE also saves the dictionary there; it is no part of the configuration.
    """

    model: str = "smollm2-135m-instruct"
    """A built-in name, a local folder, a .gguf file or a Hugging Face id."""
    concepts: str = "packaged"
    """`packaged`, a folder made by AxBench (read block by block), or a .jsonl or .csv file (read whole)."""
    limit: int | None = None
    """Use only the first concepts."""
    method: Literal["diffmean", "diffmean_text", "reft_r1"] = "diffmean"
    """How each direction is fitted."""
    layer: int | None = None
    """The block whose output is read; none means the one at 0.6 of the depth."""
    block: int = 16
    """Concepts that are read and fitted together: memory grows with it, and a kill loses at most one block."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 where the hardware multiplies it fast, else float32."""

    def __post_init__(self) -> None:
        check_fields(self, model=some(), concepts=some(), limit=at_least(1), layer=at_least(0), block=at_least(1))


PRESETS = {"default": Config(), "smoke": Config(limit=4, block=2)}


def run(config: Config, root: Path = Path("runs"), out: Path | None = None) -> Path:
    """Run, or continue, the fit; returns the path of the dictionary."""
    from experiments.directions.fit import fit_dictionary
    from experiments.directions.source import choose
    from workbench.models.load import load
    from workbench.models.sites import Site
    from workbench.runs.run import Run

    with Run.open(NAME, config, root) as opened:
        model = load(config.model, dtype=config.dtype)
        opened.note(dtype=str(model.dtype), device=str(model.device), model_digest=model.digest)
        site = model.site() if config.layer is None else Site(config.layer)
        source = choose(config.concepts, config.limit)
        dictionary = fit_dictionary(opened, model, source, METHODS[config.method].make(), site, config.block)
        if out is not None:
            dictionary.save(out)
        return dictionary.save(opened.artifacts / "dictionary.safetensors")


def main() -> None:
    """Run the command line; the last line printed is the path of the dictionary."""
    import argparse
    import sys

    from experiments.command import parse

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--out", type=Path)
    known, rest = first.parse_known_args(sys.argv[1:])
    config, root = parse(Config, PRESETS, rest)
    path = run(config, root, known.out)
    print(known.out or path)
