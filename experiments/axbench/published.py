"""What AxBench's paper reports, for orientation beside a run: never a row of ours, and never measured here.

Wu et al. 2025, arXiv:2501.17148 v3, the tables of concept detection, steering and win rate: Concept500 (500 concepts a
setting), Gemma-2-2B after blocks 10 and 20 and Gemma-2-9B after blocks 20 and 31, rated by GPT-4o mini.
"""

from dataclasses import dataclass
from typing import Literal

from workbench.report.blocks import Column, Missing, Table

SOURCE = "Wu et al. 2025, arXiv:2501.17148 v3"
SETTINGS = ("2B, layer 10", "2B, layer 20", "9B, layer 20", "9B, layer 31")
"""Gemma-2, and the block after which the residual stream is read and edited."""

PublishedMeasure = Literal["detection", "steering", "win_rate"]


@dataclass(frozen=True)
class Published:
    """One method's numbers in the four settings and their average; None where the paper has none."""

    method: str
    settings: tuple[float | None, float | None, float | None, float | None]
    average: float


_NONE = (None, None, None, None)
PUBLISHED: dict[PublishedMeasure, tuple[Published, ...]] = {
    "detection": (
        Published("DiffMean", (0.948, 0.946, 0.955, 0.921), 0.942),
        Published("Probe", (0.940, 0.946, 0.933, 0.942), 0.940),
        Published("ReFT-r1", (0.952, 0.965, 0.966, 0.869), 0.938),
        Published("Prompt", (0.910, 0.921, 0.940, 0.943), 0.929),
        Published("SAE-A", (0.924, 0.911, 0.924, 0.907), 0.917),
        Published("BoW", (0.909, 0.931, 0.904, 0.912), 0.914),
        Published("SSV", (0.934, 0.950, 0.910, 0.854), 0.912),
        Published("LAT", (0.742, 0.809, 0.572, 0.725), 0.712),
        Published("SAE", (0.735, 0.755, 0.631, 0.659), 0.695),
        Published("PCA", (0.714, 0.712, 0.559, 0.622), 0.652),
        Published("IG", (0.440, 0.375, 0.508, 0.383), 0.426),
        Published("IxG", (0.243, 0.217, 0.193, 0.330), 0.246),
    ),
    "steering": (
        Published("Prompt", (0.698, 0.731, 1.075, 1.072), 0.894),
        Published("LoReFT", (0.701, 0.722, 0.777, 0.764), 0.741),
        Published("SFT", (0.637, 0.714, None, None), 0.676),
        Published("LoRA", (0.637, 0.641, 0.602, 0.580), 0.615),
        Published("ReFT-r1", (0.633, 0.509, 0.630, 0.401), 0.543),
        Published("DiffMean", (0.297, 0.178, 0.322, 0.158), 0.239),
        Published("SAE", (0.177, 0.151, 0.191, 0.140), 0.165),
        Published("SAE-A", (0.166, 0.132, 0.186, 0.143), 0.157),
        Published("LAT", (0.117, 0.130, 0.127, 0.134), 0.127),
        Published("PCA", (0.107, 0.083, 0.128, 0.104), 0.105),
        Published("Probe", (0.095, 0.091, 0.108, 0.099), 0.098),
        Published("SSV", (0.072, 0.001, 0.024, 0.008), 0.026),
    ),
    "win_rate": (
        Published("Prompt", (0.900, 0.915, 0.976, 0.991), 0.945),
        Published("LoReFT", (0.889, 0.884, 0.886, 0.903), 0.890),
        Published("SFT", (0.900, 0.875, None, None), 0.888),
        Published("LoRA", (0.850, 0.834, 0.799, 0.815), 0.825),
        Published("ReFT-r1", (0.852, 0.823, 0.836, 0.760), 0.818),
        Published("DiffMean", (0.632, 0.552, 0.643, 0.522), 0.587),
        Published("SAE", _NONE, 0.500),
        Published("SAE-A", _NONE, 0.488),
        Published("LAT", _NONE, 0.458),
        Published("PCA", _NONE, 0.431),
        Published("Probe", _NONE, 0.430),
        Published("SSV", _NONE, 0.343),
    ),
}

_TITLES: dict[PublishedMeasure, str] = {
    "detection": "Published: detection AUROC",
    "steering": "Published: steering score",
    "win_rate": "Published: win rate against SAE",
}
_MEANINGS: dict[PublishedMeasure, str] = {
    "detection": "The chance that a text with the concept scores higher than one without it.",
    "steering": "Mean harmonic mean of three ratings, from 0 to 2.",
    "win_rate": "Share of concepts on which the score is higher than that of SAE; a tie counts one half.",
}
_CAVEAT = (
    f"As reported by {SOURCE}; not measured in this run. Other models (Gemma-2), other concepts (500 a setting) and "
    "another judge (GPT-4o mini): compare the order of methods, not the numbers. Their SAE is the latent that an LLM "
    "described as the concept; ours has no such descriptions and takes the largest difference of means."
)


def published_table(measure: PublishedMeasure) -> Table:
    """The paper's numbers for one measure: a row a method, a column for each of the four settings and their average."""
    rows = PUBLISHED[measure]
    columns = [Column(name, f"Gemma-2-{name}: {_MEANINGS[measure]}", digits=3) for name in SETTINGS]
    average = Column("Average", f"Over the settings that were measured. {_MEANINGS[measure]}", digits=3)
    return Table(
        name=f"published-{measure.replace('_', '-')}",
        title=_TITLES[measure],
        caption=f"{_MEANINGS[measure]} {_CAVEAT}",
        corner="Method (published)",
        columns=(*columns, average),
        rows=tuple((row.method, tuple(_entry(value) for value in (*row.settings, row.average))) for row in rows),
        folded=True,
    )


def published_tables() -> tuple[Table, ...]:
    """All of them."""
    return tuple(published_table(measure) for measure in PUBLISHED)


def _entry(value: float | None) -> float | Missing:
    return Missing("The paper has no number here.") if value is None else value
