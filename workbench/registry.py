"""Lines of a registry: names that can be listed without importing what they stand for."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """Where a class lies, and the settings that it is registered with."""

    path: str
    """`module:Class`, imported when it is first asked for."""
    options: tuple[tuple[str, Any], ...] = ()

    def resolve(self) -> Any:
        """The class itself."""
        module, name = self.path.split(":")
        return getattr(import_module(module), name)

    def make(self) -> Any:
        """An object of the class."""
        return self.resolve()(**dict(self.options))
