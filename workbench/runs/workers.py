"""The workers behind an executor: processes of this machine, or actors on a Ray cluster."""

import os
import pickle
import signal
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any

from workbench.runs.errors import RunError

_GRACE_S = 5.0
_MAY_SPAN_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray reads this when it is imported; without it a node of its own takes loopback for its address, on any system."""


@dataclass(frozen=True)
class Answer:
    """What a worker made of a unit, or why it could not."""

    value: Any = None
    error: str | None = None
    trace: str = ""


@dataclass(frozen=True)
class WorkerLost:
    """A worker died, and what it was doing with it."""

    reason: str


class WorkerPool(ABC):
    """Workers that make a context each, and then take one unit at a time."""

    workers: int
    """How many there should be."""

    @abstractmethod
    def start(self) -> Any:
        """Begin a worker; its first answer is its context's fingerprint."""

    @abstractmethod
    def submit(self, worker: Any, work: Any) -> None:
        """Have a worker do a unit."""

    @abstractmethod
    def next(self) -> tuple[Any, Answer | WorkerLost]:
        """Wait for the next worker that has something to say."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once."""


class WorkerServer:
    """A worker's own side: its context, made when it is first asked something."""

    def __init__(self, recipe: bytes, threads: int):
        """`recipe` is pickled, so that what it imports is imported only after the worker is set up."""
        self._recipe, self._threads = recipe, threads
        self._context: Any = None

    def open(self) -> Answer:
        """Make the context."""
        return _answer(self._open)

    def do(self, work: Any) -> Answer:
        """Do a unit; its value is what was read back from disk."""
        return _answer(lambda: work.finish(self._context))

    def _open(self) -> str:
        os.environ["OMP_NUM_THREADS"] = str(self._threads)  # for what is not imported yet
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self._threads)
        self._context = pickle.loads(self._recipe)()  # a message of the process that made this one, never a file
        return self._context.fingerprint


def _answer(act: Callable[[], Any]) -> Answer:
    try:
        return Answer(act())
    except Exception as error:  # noqa: BLE001 (whatever it is, it goes to the process that asked, which raises it)
        return Answer(error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


@dataclass(frozen=True, eq=False)
class _Worker:
    process: Any
    pipe: Any


class Processes(WorkerPool):
    """Fresh processes of this machine (spawned, never forked: a fork would share the model's locks).

    With GPUs there is one worker for each, which sees that one only; else one for four cores, and two at least. They
    share this process's number of torch threads. They end with this process, however it ends.
    """

    def __init__(self, recipe: Callable[[], Any], workers: int | None = None):
        import torch

        self._devices = _devices(torch.cuda.device_count())
        self.workers = workers or len(self._devices) or max(2, (os.cpu_count() or 1) // 4)
        self._arguments = pickle.dumps(recipe), max(1, torch.get_num_threads() // self.workers)
        self._alive: list[_Worker] = []
        self._started = 0

    def start(self) -> _Worker:
        """See WorkerPool."""
        spawn = get_context("spawn")
        ours, theirs = spawn.Pipe()
        device = self._devices[self._started % len(self._devices)] if self._devices else None
        process = spawn.Process(target=_serve, args=(theirs, device, *self._arguments), daemon=True)
        process.start()
        theirs.close()  # else the pipe would stay open when the worker dies
        self._started += 1
        self._alive.append(_Worker(process, ours))
        return self._alive[-1]

    def submit(self, worker: _Worker, work: Any) -> None:
        """See WorkerPool."""
        try:
            worker.pipe.send(work)
        except OSError:
            return  # it is dead, as `next` is about to find

    def next(self) -> tuple[_Worker, Answer | WorkerLost]:
        """See WorkerPool."""
        ready = connection.wait([worker.pipe for worker in self._alive])
        worker = next(worker for worker in self._alive if worker.pipe is ready[0])
        try:
            return worker, worker.pipe.recv()
        except (EOFError, OSError):
            self._alive.remove(worker)
            _end(worker)
            return worker, WorkerLost(f"process {worker.process.pid} ended with exit code {worker.process.exitcode}")

    def close(self) -> None:
        """See WorkerPool."""
        for worker in self._alive:
            worker.process.terminate()
        while self._alive:
            _end(self._alive.pop())


def _devices(count: int) -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [name for name in visible.split(",") if name][:count] or [str(number) for number in range(count)]


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(_GRACE_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _serve(pipe: Any, device: str | None, recipe: bytes, threads: int) -> None:
    """The life of a worker process: answer until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order, so that no scratch file or semaphore is left
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    server = WorkerServer(recipe, threads)
    try:
        pipe.send(server.open())
        while True:
            pipe.send(server.do(pipe.recv()))
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class RayActors(WorkerPool):
    """Actors on a Ray cluster: the one this process or RAY_ADDRESS is connected to, else one of this machine alone,
    which listens on loopback only.

    One actor for each GPU, with that GPU; without GPUs one for each node. The CPUs of a node are divided among its
    actors. When a node dies its units go to the others, and a new actor starts as soon as there is room for it.
    """

    def __init__(self, recipe: Callable[[], Any], workers: int | None = None):
        if "RAY_ADDRESS" not in os.environ:
            os.environ.setdefault(_MAY_SPAN_MACHINES, "0")
        try:
            import ray
        except ImportError as error:
            raise RunError("--executor ray needs Ray: pip install 'representation-workbench[cluster]'") from error
        import torch

        self._ray, self._mine = ray, not ray.is_initialized()
        if self._mine:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(include_dashboard=False)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        if not nodes:
            raise RunError("no node of the Ray cluster has CPUs to work with")
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        self.workers = workers or gpus or len(nodes)
        cpus = max(1, int(min(node["CPU"] for node in nodes)) // -(-self.workers // len(nodes)))
        threads = min(cpus, torch.get_num_threads())
        self._actor: Any = ray.remote(num_cpus=cpus, num_gpus=1 if gpus else 0, max_restarts=0)(WorkerServer)
        self._arguments = pickle.dumps(recipe), threads
        self._pending: dict[Any, Any] = {}
        self._alive: list[Any] = []

    def start(self) -> Any:
        """See WorkerPool."""
        actor = self._actor.remote(*self._arguments)
        self._alive.append(actor)
        self._pending[actor.open.remote()] = actor
        return actor

    def submit(self, worker: Any, work: Any) -> None:
        """See WorkerPool."""
        self._pending[worker.do.remote(work)] = worker

    def next(self) -> tuple[Any, Answer | WorkerLost]:
        """See WorkerPool."""
        errors = self._ray.exceptions
        (ready,), _ = self._ray.wait(list(self._pending), num_returns=1)
        worker = self._pending.pop(ready)
        try:
            return worker, self._ray.get(ready)
        except (errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError) as error:
            self._alive.remove(worker)
            self._ray.kill(worker)
            return worker, WorkerLost(str(error).strip().rpartition("\n")[2])

    def close(self) -> None:
        """See WorkerPool."""
        for worker in self._alive:
            self._ray.kill(worker)
        self._alive.clear()
        self._pending.clear()
        if self._mine:
            self._ray.shutdown()
