"""What goes wrong when a report is made."""


class ReportError(Exception):
    """A report cannot be made from what it was given; the message says what to change."""
