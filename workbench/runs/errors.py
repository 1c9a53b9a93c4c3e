"""The two error classes of this room."""

from workbench.text import OneLineError


class StorageError(OneLineError):
    """A file could not be read, written or locked; the message names the path and the reason."""


class RunError(OneLineError):
    """A run, its configuration or its rows are not what they must be; the message says what to change."""
