"""Names that can be listed without importing what they stand for: lines of a registry, and names of a package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from workbench.text import did_you_mean


@dataclass(frozen=True)
class Entry:
    """Where a class, a function or a value lies, and the settings that it is registered with."""

    path: str
    """`module:name`, imported when it is first asked for."""
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Of the class in its module."""
        return self.path.split(":")[1]

    def resolve(self) -> Any:
        """What it names."""
        return getattr(import_module(self.path.split(":")[0]), self.name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What it gives for these arguments, for an entry that names a function."""
        return self.resolve()(*arguments, **named)

    def make(self) -> Any:
        """An object of the class."""
        return self.resolve()(**dict(self.options))


def lazy(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: each name stands for a `module:attribute`, imported when it is first asked for."""

    def resolve(name: str) -> Any:
        if name not in names:
            near, known = did_you_mean(name, names), ", ".join(sorted(names))
            raise AttributeError(f"module {package!r} has no attribute {name!r}{near}; it has {known}")
        return Entry(names[name]).resolve()

    return resolve
