"""What a command shows on the terminal: its own lines, one line for what ends it early, and no library's chatter."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tqdm.auto import tqdm

OURS = ("workbench", "probes", "steering", "experiments")
HUSHED = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "WANDB_SILENT": "true"}
"""Variables that libraries read when they are imported, here and in workers."""


@contextmanager
def ends_in_one_line(stopped: str = "stopped; the same command goes on from here") -> Iterator[None]:
    """What the user can mend, Ctrl-C and SIGTERM end the program with status 1 and one line on standard error.

    `stopped` is the line for the last two. A run that is open notes how it ended; its log.txt has the traceback.
    """
    with ExitStack() as undo:
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
            undo.callback(signal.signal, signal.SIGTERM, before)
        try:
            yield
        except KeyboardInterrupt:
            sys.exit(stopped)
        except expected() as error:
            sys.exit(f"error: {_said(error)}")


def _said(error: Exception) -> str:
    """The message on one line; of the system's own errors the file and what is wrong with it."""
    message = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    return " ".join(message.split()) or type(error).__name__


def expected() -> tuple[type[Exception], ...]:
    """Errors whose message tells the user what to change."""
    from workbench.evaluation.judges.base import JudgeError
    from workbench.models.cache import WeightsError
    from workbench.report.errors import ReportError
    from workbench.runs.errors import RunError, StorageError

    ours = RunError, StorageError, WeightsError, JudgeError, ReportError
    torch = sys.modules.get("torch")  # without it no device has run out of memory
    return (ValueError, OSError, MemoryError, ImportError, *ours, *([torch.OutOfMemoryError] if torch else []))


@contextmanager
def hushed(verbose: bool) -> Iterator[None]:
    """Warnings of libraries go to the run's log and not to the terminal, unless the command is `verbose`.

    Enter it before the libraries are imported, and `routed_logs` afterwards.
    """
    with ExitStack() as undo:
        for name, value in {} if verbose else HUSHED.items():
            if name not in os.environ:
                os.environ[name] = value
                undo.callback(os.environ.pop, name, None)
        terminal, root = _Terminal(verbose), logging.getLogger()
        root.addHandler(terminal)
        undo.callback(root.removeHandler, terminal)
        logging.captureWarnings(True)
        undo.callback(logging.captureWarnings, False)
        yield


@contextmanager
def routed_logs() -> Iterator[None]:
    """Loggers of libraries that print on their own hand their records to the root logger instead; no bars of theirs.

    For libraries that are imported.
    """
    with ExitStack() as undo:
        if "HF_HUB_DISABLE_PROGRESS_BARS" in os.environ and (transformers := sys.modules.get("transformers")):
            transformers.utils.logging.disable_progress_bar()
            undo.callback(transformers.utils.logging.enable_progress_bar)
        for logger in [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]:
            for handler in [each for each in logger.handlers if type(each) is logging.StreamHandler]:
                logger.removeHandler(handler)
                undo.callback(logger.addHandler, handler)
                undo.callback(setattr, logger, "propagate", logger.propagate)
                logger.propagate = True
        yield


class _Terminal(logging.Handler):
    """Prints warnings of our own packages, of all if `verbose`, above the progress bars."""

    def __init__(self, verbose: bool):
        super().__init__(logging.INFO if verbose else logging.WARNING)
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if self._verbose or record.name.partition(".")[0] in OURS:
            tqdm.write(self.format(record), file=sys.stderr)
