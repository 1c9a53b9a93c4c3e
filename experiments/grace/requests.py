"""What the policy forbids and allows: the packaged stand-in, or requests of files."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.data.safety import Request

STAND_IN = "stand-in"


def requests_of(data: Sequence[str]) -> "tuple[Request, ...]":
    """The requests that `--data` names, each once: those of files whose splits are incomplete are dealt anew.

    Raises DataError for a file of another form, and where there are too few requests of a kind; OSError for one that
    cannot be opened.
    """
    from workbench.data.items import SPLITS, DataError
    from workbench.data.safety import DEALT, of_split, stand_in
    from workbench.data.safety_files import read_requests

    if tuple(data) == (STAND_IN,):
        return stand_in()
    found = {request.prompt: request for path in data for request in read_requests(Path(path).expanduser())}
    kinds = [[one for one in found.values() if one.allowed == allowed] for allowed in (False, True)]
    for kind, name in zip(kinds, ("forbidden", "allowed"), strict=True):
        if len(kind) < len(DEALT):
            raise DataError(
                f"--data {' '.join(data)} holds {len(kind)} {name} requests; at least {len(DEALT)} are needed of "
                "forbidden and of allowed ones (several files may be named)"
            )
    whole = all(of_split(kind, split, allowed=kind[0].allowed) for kind in kinds for split in SPLITS)
    return tuple(
        one if whole else replace(one, split=split)
        for kind in kinds
        for one, split in zip(kind, cycle(DEALT), strict=False)
    )
