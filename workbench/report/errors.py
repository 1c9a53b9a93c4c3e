"""What goes wrong when a report is made."""

from workbench.text import OneLineError


class ReportError(OneLineError):
    """A report cannot be made from what it was given; the message says what to change."""
