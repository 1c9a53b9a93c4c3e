"""Bars: on a terminal, gone at the end, by cost; work says what it is doing and what was done before."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runs.chores import Kitchen, Square
from workbench.runs.executors import Local
from workbench.runs.progress import WorkProgress, progress


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def drawn(self) -> list[str]:
        """Everything that stood on its last line, one after the other."""
        return [line.strip() for line in self.getvalue().replace("\n", "\r").split("\r") if line.strip()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds on tqdm's clock."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Makes standard error a terminal; to be called in the test, since pytest puts its own there before."""

    def begin() -> Terminal:
        shown = Terminal()
        monkeypatch.setattr(sys, "stderr", shown)
        return shown

    return begin


def test_time_left_is_by_cost_and_the_bar_says_what_is_done(
    at_terminal: Callable[[], Terminal], clock: list[float]
) -> None:
    terminal = at_terminal()
    with WorkProgress("fit (18)", [1.0, 1.0, 98.0], 3) as bar:
        for name, cost in (("diffmean", 1.0), ("pca", 1.0)):
            bar.begin([name])
            clock[0] += 10
            bar.finish(cost)
        bar.begin(["reft_r1"])
    assert "fit (18), 2 of 3 units: reft_r1" in terminal.drawn[-1]
    assert "[00:20<16:20]" in terminal.drawn[-1]  # 98 times ten seconds
    assert terminal.getvalue().endswith("\r")  # the bar is gone


def test_a_resumed_stage_says_so(at_terminal: Callable[[], Terminal]) -> None:
    terminal = at_terminal()
    for n in (70, 36):  # at 36 of 36 nothing was done before
        with WorkProgress("fit (18)", [1.0] * 36, n):
            pass
    assert terminal.drawn.count("fit (18), continuing: 34 of 70 units done") == 1
    assert "continuing: 0" not in terminal.getvalue()


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with WorkProgress("fit", [1.0], 2) as bar:
        bar.begin(["diffmean"])
        bar.finish(1.0)
    list(progress("read", range(3)))
    assert capsys.readouterr().err == ""


@dataclass(frozen=True)
class Named(Square):
    @property
    def doing(self) -> str:
        return f"square of {self.number}"

    def cost(self, context: Kitchen) -> float:
        return float(self.number)

    def prepare(self, context: Kitchen) -> None:
        context.note("prepared")


def test_an_executor_draws_tells_and_prepares_what_is_missing(
    at_terminal: Callable[[], Terminal], tmp_path: Path
) -> None:
    terminal, told, kitchen = at_terminal(), [], Kitchen(tmp_path)
    with Local() as executor:
        executor.finish(kitchen, [Named(1), Named(2)], "cook")
        assert len(kitchen.noted("prepared")) == 2
        executor.observe = lambda *stage: told.append(stage)
        executor.finish(kitchen, [Named(number) for number in (1, 2, 3, 4)], "cook")
    assert told == [("cook", 3, 4), ("cook", 4, 4)]
    assert "cook, continuing: 2 of 4 units done" in terminal.drawn
    assert any("cook, 2 of 4 units: square of 3" in line for line in terminal.drawn)
    assert len(kitchen.noted("prepared")) == 4
