"""The two error classes of this room."""


class StorageError(Exception):
    """A file could not be read, written or locked; the message names the path and the reason."""


class RunError(Exception):
    """A run, its configuration or its rows are not what they must be; the message says what to change."""
