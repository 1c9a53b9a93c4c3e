"""The warning on reports of runs that only show that everything works."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

BANNER = (
    "A smoke run: too little to conclude anything from. It shows that everything works and what a report looks like."
)
_WITH_WHAT = ("model", "dtype", "device")
"""Settings that make a run no larger."""


def smoke_banner(config: Any, presets: Mapping[str, Any]) -> str:
    """The warning where a configuration is that of the preset `smoke`, whatever the model; else nothing."""
    own, smoke = asdict(config), asdict(presets["smoke"])
    return "" if any(own[name] != smoke[name] for name in own if name not in _WITH_WHAT) else BANNER
