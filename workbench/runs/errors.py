"""The error classes of this room."""

from workbench.text import OneLineError


class StorageError(OneLineError):
    """A file could not be read, written or locked; the message names the path and the reason."""


class DamagedFile(StorageError):
    """A file is there and is not what was written to it; the message names the path, and what to do."""


class RunError(OneLineError):
    """A run, its configuration or its rows are not what they must be; the message says what to change."""
