"""Where units of work are done: here, in processes of this machine, or on a Ray cluster. The results are the same.

Work is a small value that can be pickled: a name, what it depends on, and how to compute it in a `Context`, which holds
everything heavy, such as a model. A worker makes its own context once, from the context's `recipe`, and writes each
unit whole into the run's folder, which all workers share. So a unit that is done twice, or by another worker after the
first one died, is the same unit.
"""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from workbench.runs.config import read_described
from workbench.runs.errors import RunError
from workbench.runs.progress import WorkProgress
from workbench.runs.run import Run
from workbench.runs.units import Inputs, Units
from workbench.runs.workers import Answer, Processes, RayActors, WorkerLost, WorkerPool
from workbench.text import no_such

ATTEMPTS = 3
"""Workers that one unit may lose before it is given up: something in it kills them."""


class UnitError(RunError):
    """A unit failed in a worker; the message has the unit's name and the error, the note its traceback."""


class Context(ABC):
    """What units are computed in; made once in each worker."""

    @property
    @abstractmethod
    def units(self) -> Units:
        """The shared store of finished units."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What must be equal where units are computed: model, precision, device. Units of unequal ones do not mix."""

    @abstractmethod
    def recipe(self) -> Callable[[], Any]:
        """A small value that can be pickled, and makes an equal context when it is called in another process."""


C = TypeVar("C", bound=Context)


class Work(ABC, Generic[C]):
    """Work that is done in one go; a frozen dataclass at the top level of a module, so that it can be pickled.

    Most work is one unit (`UnitWork`); fits that share work fill several.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name: equal for equal work in one run."""

    @property
    def doing(self) -> str:
        """What a progress bar says while it is done, such as the method that is fitted; nothing if all are alike."""
        return ""

    def cost(self, context: C) -> float:
        """How long it is expected to take, next to the other works of its stage."""
        return 1.0

    def prepare(self, context: C) -> None:
        """Make what it shares with others, so that this is not counted as the time of the first of them."""

    @abstractmethod
    def fresh(self, context: C) -> bool:
        """Whether all of it is stored, whole and of the inputs it has in this context; else the log says why."""

    @abstractmethod
    def finish(self, context: C) -> Any:
        """What is stored; what is not fresh is computed first, the same wherever and however often that is done."""


class UnitWork(Work[C]):
    """Work that is one unit of the store, of the same name."""

    @abstractmethod
    def inputs(self, context: C) -> Inputs:
        """All that the value depends on; see workbench.runs.units."""

    @abstractmethod
    def compute(self, context: C) -> object:
        """The value, as `Units.value` stores it."""

    def complete(self, value: Any) -> bool:
        """Whether nothing of a stored value failed; else the next `finish` computes it again."""
        return True

    def fresh(self, context: C) -> bool:
        """See Work."""
        return context.units.fresh(self.name, self.inputs(context), self.complete)

    def finish(self, context: C) -> Any:
        """See Work."""
        return context.units.value(self.name, self.inputs(context), lambda: self.compute(context), self.complete)


class Executor(ABC):
    """Does units of work; use it in a `with` block, which leaves no worker behind."""

    observe: Callable[[str, int, int], object] | None = None
    """Told, whenever a unit is finished, of what stage, how many of its units are done, and of how many."""

    def finish(self, context: C, works: Sequence[Work[C]], what: str) -> list[Any]:
        """What is stored of these works, in order; those that are not fresh are computed first.

        `what` names the work on the progress bar. Here an exception in a unit comes as it is; from a worker it comes as
        UnitError. Raises RunError when a unit loses its worker three times, when workers cannot start, and when a
        worker's fingerprint is another than the context's.
        """
        different = {work.name: work for work in works}
        missing = [work for work in different.values() if not work.fresh(context)]
        done: dict[str, Any] = {}
        self._prepare(context, missing)
        with WorkProgress(what, [work.cost(context) for work in missing], len(different)) as bar:
            for work, value in self._finished(context, missing, bar) if missing else ():
                done[work.name] = value
                bar.finish(work.cost(context))
                if self.observe:
                    self.observe(what, bar.done, len(different))
        return [done[work.name] if work.name in done else work.finish(context) for work in works]

    def _prepare(self, context: C, missing: Sequence[Work[C]]) -> None:  # noqa: B027 (workers do it on their own)
        """Make what different works share, where they are done in this process."""

    @abstractmethod
    def _finished(self, context: C, missing: Sequence[Work[C]], bar: WorkProgress) -> Iterator[tuple[Work[C], Any]]:
        """Do different works, in any order; each with its value, as soon as it is done."""

    def close(self) -> None:  # noqa: B027 (nothing to do by default)
        """End the workers; what they were at is lost, and done again by the next `finish`."""

    def __enter__(self) -> "Executor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Local(Executor):
    """One unit after the other, in this process."""

    def _prepare(self, context: C, missing: Sequence[Work[C]]) -> None:
        for work in missing:
            work.prepare(context)

    def _finished(self, context: C, missing: Sequence[Work[C]], bar: WorkProgress) -> Iterator[tuple[Work[C], Any]]:
        for work in missing:
            bar.begin([work.doing])
            yield work, work.finish(context)


@dataclass(eq=False)
class Pool(Executor):
    """Workers that hold one unit each; a unit whose worker dies goes to another."""

    pool: Callable[[Callable[[], Any], int | None], WorkerPool]
    """Makes the workers' side from a recipe and the number of workers."""
    workers: int | None = None
    """How many; None leaves it to the pool."""
    _pool: WorkerPool | None = None
    _idle: list[Any] = field(default_factory=list)
    _busy: dict[Any, Work[Any] | None] = field(default_factory=dict)
    """Each busy worker's unit; None while it makes its context."""

    def _finished(self, context: C, missing: Sequence[Work[C]], bar: WorkProgress) -> Iterator[tuple[Work[C], Any]]:
        try:
            yield from self._answers(context, deque(missing), bar)
        except BaseException:  # also Ctrl-C
            self.close()
            raise

    def close(self) -> None:
        """See Executor."""
        pool, self._pool = self._pool, None
        self._idle.clear()
        self._busy.clear()
        if pool is not None:
            pool.close()

    def _answers(
        self, context: Context, waiting: deque[Work[Any]], bar: WorkProgress
    ) -> Iterator[tuple[Work[Any], Any]]:
        pool, lost, left = self._staff(context, len(waiting)), Counter[str](), len(waiting)
        while left:
            while waiting and self._idle:
                worker, work = self._idle.pop(), waiting.popleft()
                self._busy[worker] = work
                pool.submit(worker, work)
            bar.begin(work.doing for work in self._busy.values() if work)
            worker, answer = pool.next()
            work = self._busy.pop(worker, None)
            if isinstance(answer, WorkerLost):
                self._idle = [other for other in self._idle if other is not worker]
                _count(lost, work, answer, pool.workers)
                waiting.extendleft([work] if work else [])
                self._busy[pool.start()] = None
                continue
            self._idle.append(worker)
            if work is None:
                _check(_unpacked(answer, "the context of a worker"), context.fingerprint)
            else:
                left -= 1
                yield work, _unpacked(answer, f"unit {work.name!r}")

    def _staff(self, context: Context, n: int) -> WorkerPool:
        """As many workers as there is work for, at most; those that are there stay."""
        if self._pool is None:
            self._pool = self.pool(context.recipe(), self.workers)
        while len(self._idle) + len(self._busy) < min(self._pool.workers, n):
            self._busy[self._pool.start()] = None
        return self._pool


class Joined(Run):
    """A run that another process has open: here units may be done in it, and nothing else."""

    @classmethod
    def of(cls, folder: Path) -> "Joined":
        """The run in `folder`. Raises StorageError when it holds no readable config.json."""
        return cls(folder, read_described(folder / "config.json"))

    def unit(self, name: str, inputs: Inputs, compute: Callable[[], object]) -> Any:
        """See Run.unit."""
        return self.units.value(name, inputs, compute)

    def unit_file(self, name: str, inputs: Inputs, write: Callable[[Path], object], suffix: str) -> Path:
        """See Run.unit_file."""
        return self.units.file(name, inputs, write, suffix)


def choose_executor(name: str, workers: int | None = None) -> Executor:
    """`local`, `processes` or `ray`; no worker starts before there is work.

    Raises RunError for another name, and for fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise RunError(f"{workers} workers can do nothing; ask for at least 1")
    kinds: dict[str, Callable[[], Executor]] = {
        "local": Local,
        "processes": lambda: Pool(Processes, workers),
        "ray": lambda: Pool(RayActors, workers),
    }
    if name not in kinds:
        raise RunError(no_such("executor", name, kinds))
    return kinds[name]()


def _count(lost: Counter[str], work: Work[Any] | None, answer: WorkerLost, workers: int) -> None:
    """Give up on what has cost too many workers."""
    what = f"unit {work.name!r}" if work else "the context of a worker"
    lost[what] += 1
    if lost[what] >= (ATTEMPTS if work else ATTEMPTS * workers):
        raise RunError(
            f"{what} lost its worker {lost[what]} times, the last time because {answer.reason}; if memory is short, "
            "ask for fewer --workers"
        )


def _check(theirs: str, ours: str) -> None:
    if theirs != ours:
        raise RunError(
            f"a worker computes with {theirs}, this process with {ours}; their results would not mix. Run all of them "
            "on like machines, and name the precision (--dtype)"
        )


def _unpacked(answer: Answer, what: str) -> Any:
    if answer.error is None:
        return answer.value
    failure = UnitError(f"{what} failed in a worker: {answer.error}")
    failure.add_note(answer.trace)
    raise failure
