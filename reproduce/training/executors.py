"""Where trials run: one interface, and the executor of this machine's GPUs or CPU threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from reproduce.training.caffe import Caffe
from reproduce.training.outcome import TrialResult
from reproduce.training.recipe import Recipe
from reproduce.training.trial import TrialEvent, run_trial


class ExecutorError(ValueError):
    """Slots that cannot be had; the message says which and what to do."""


@dataclass(frozen=True)
class Job:
    """One trial to run; the fields are `run_trial`'s. `key` names it, for the caller's use."""

    key: str
    folder: Path
    run_folder: Path
    net_text: str
    recipe: Recipe
    caffe: Caffe


class Executor(Protocol):
    """Runs trials, as many at a time as it has slots."""

    @property
    def slots(self) -> int:
        """Trials that run at a time."""
        ...

    def submit(self, job: Job) -> Future[TrialResult]:
        """Queue a job."""
        ...

    def place(self, key: str) -> str | None:
        """Where the job of a key runs or ran, as "GPU 0"; None before it has started."""
        ...

    def stop(self) -> None:
        """Stop what runs; its results, and those of the queued jobs, are `stopped`."""
        ...


class ClosingExecutor(Executor, Protocol):
    """An executor that is a context manager; leaving it stops what still runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time: a GPU, or a number of CPU threads (None: Caffe's own).

    Several slots may name one GPU, whose memory then holds several nets.
    """

    gpu: int | None = None
    threads: int | None = None

    def caffe(self, caffe: Caffe) -> Caffe:
        """A `caffe` that runs here."""
        return replace(caffe, gpu=self.gpu, threads=self.threads)

    def __str__(self) -> str:
        return "CPU" if self.gpu is None else f"GPU {self.gpu}"


def local_slots(
    gpus: Sequence[int],
    slots_per_gpu: int = 1,
    cpu_slots: int = 1,
    threads: int | None = None,
) -> list[Slot]:
    """This machine's slots: those of its GPUs, in turns, or, without any, `cpu_slots`.

    Args:
        gpus: the numbers that `caffe --gpu` takes; none trains on the CPU.
        slots_per_gpu: trials at a time on each GPU.
        cpu_slots: trials at a time without a GPU.
        threads: CPU threads of each trial. None shares the CPUs among several CPU slots, and
            leaves the number to Caffe otherwise.

    Raises:
        ExecutorError: if a count is below 1, or a GPU's number is negative or comes twice.
    """
    for name, count in (
        ("slots per GPU", slots_per_gpu),
        ("CPU slots", cpu_slots),
        ("threads", 1 if threads is None else threads),
    ):
        if count < 1:
            raise ExecutorError(f"{name} must be at least 1, not {count}")
    for gpu in gpus:
        if gpu < 0:
            raise ExecutorError(f"GPUs are numbered from 0, there is none of number {gpu}")
        if list(gpus).count(gpu) > 1:
            raise ExecutorError(
                f"GPU {gpu} is named twice; slots per GPU says how many trials share one"
            )
    if gpus:
        return [Slot(gpu, threads) for _ in range(slots_per_gpu) for gpu in gpus]
    if threads is None and cpu_slots > 1:
        threads = max(1, _cpus() // cpu_slots)
    return [Slot(threads=threads)] * cpu_slots


def _cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor:
    """Trials as processes of this machine, one per slot; a context manager.

    Each slot is a thread that lives as long as the executor: the kernel ends a `caffe` process
    when the thread that started it ends. Leaving the context stops what still runs.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        on_event: Callable[[Job, TrialEvent], None] = lambda job, event: None,
    ) -> None:
        """`on_event` gets every trial's events, from the slots' threads.

        Raises ValueError without any slot.
        """
        if not slots:
            raise ValueError("an executor needs at least one slot")
        self._free, self._count = deque(slots), len(slots)
        self._waiting: deque[tuple[Job, Future[Slot]]] = deque()
        self._lock = threading.Lock()
        self._on_event = on_event
        self._places: dict[str, str] = {}
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="slot")

    @property
    def slots(self) -> int:
        """Trials that run at a time."""
        return self._count

    def submit(self, job: Job) -> Future[TrialResult]:
        """Queue a job; it takes the first free slot, at once where there is one."""
        turn: Future[Slot] = Future()
        with self._lock:  # jobs reach the pool's threads in the order of their turns
            self._waiting.append((job, turn))
            self._assign()
            return self._pool.submit(self._run, job, turn)

    def _assign(self) -> None:
        """Give free slots to the jobs that wait, in their order."""
        while self._free and self._waiting:
            (job, turn), slot = self._waiting.popleft(), self._free.popleft()
            self._places[job.key] = str(slot)
            turn.set_result(slot)

    def place(self, key: str) -> str | None:
        """See `Executor`."""
        return self._places.get(key)

    def stop(self) -> None:
        """See `Executor`."""
        self._stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._pool.shutdown(wait=True)

    def _run(self, job: Job, turn: Future[Slot]) -> TrialResult:
        slot = turn.result()
        try:
            return run_trial(
                job.folder,
                job.run_folder,
                job.net_text,
                job.recipe,
                slot.caffe(job.caffe),
                lambda event: self._on_event(job, event),
                self._stop,
            )
        finally:
            with self._lock:
                self._free.append(slot)
                self._assign()
