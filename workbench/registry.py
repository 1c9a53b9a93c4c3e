"""Lines of a registry: names that can be listed without importing what they stand for."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """Where a class, a function or a value lies, and the settings that it is registered with."""

    path: str
    """`module:name`, imported when it is first asked for."""
    options: tuple[tuple[str, Any], ...] = ()

    def resolve(self) -> Any:
        """What it names."""
        module, name = self.path.split(":")
        return getattr(import_module(module), name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What it gives for these arguments, for an entry that names a function."""
        return self.resolve()(*arguments, **named)

    def make(self) -> Any:
        """An object of the class."""
        return self.resolve()(**dict(self.options))
