"""The report of any experiment as one value: sections of text, tables, heat maps, charts and cards."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cattrs import ClassValidationError, transform_error
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from workbench.report.blocks import Bullets, Cards, Definitions, HeatMap, NamedBlock, Paragraphs, Table
from workbench.report.charts import LineChart, ScatterPlot
from workbench.report.errors import ReportError
from workbench.runs.errors import StorageError
from workbench.runs.files import read_sealed, write_sealed

Block = Paragraphs | Bullets | Definitions | Table | HeatMap | LineChart | ScatterPlot | Cards

_FILE = "report.json"
_CONVERTER = make_converter(forbid_extra_keys=True)
configure_tagged_union(Block, _CONVERTER, tag_name="kind")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page, its blocks in the order in which they are read."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """All that a report says, beside the configuration and the environment of the run.

    Raises ReportError when two parts of the page would have one name.
    """

    title: str
    lead: str
    """One paragraph: what was asked, of which model, with what data."""
    command: str
    """The command line that makes this run again."""
    facts: tuple[tuple[str, str], ...]
    """Short name and value pairs for the top of the page, such as ("Model", "SmolLM2-135M-Instruct")."""
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    """Paragraphs on how the numbers are made, and what failed or is missing."""

    def __post_init__(self) -> None:
        taken = ["run", "notes"]
        for block in (block for section in self.sections for block in section.blocks):
            if isinstance(block, NamedBlock):
                taken += [block.name, *(f"{block.name}-{end}" for end in ("title", "table"))]
        if twice := sorted(name for name, count in Counter(taken).items() if count > 1):
            raise ReportError(f"two parts of the page would be named {twice}; rename a table or figure")

    def save(self, folder: Path) -> Path:
        """Write `report.json` into a folder, atomically and with a checksum. Raises StorageError."""
        path = folder / _FILE
        write_sealed(path, _CONVERTER.unstructure(self))
        return path

    @classmethod
    def load(cls, folder: Path) -> "Document":
        """Read what `save` wrote. Raises StorageError as read_sealed, ReportError for another version's document."""
        path = folder / _FILE
        if not path.exists():
            raise StorageError(f"{folder} holds no {_FILE}: no report was written there, or by an earlier version")
        stored = read_sealed(path, "run the experiment again, which writes it anew")
        try:
            return _CONVERTER.structure(stored, cls)
        except (ClassValidationError, AttributeError, TypeError) as error:
            why = "; ".join(transform_error(error))
            raise ReportError(f"{path} is not a report of this version: {why}; run the experiment again") from error
