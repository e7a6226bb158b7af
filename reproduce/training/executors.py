"""Where trials run: one interface, and the executor of this machine's GPUs or CPU threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

from reproduce.training.caffe import Caffe
from reproduce.training.outcome import TrialResult
from reproduce.training.recipe import Recipe
from reproduce.training.trial import TrialEvent, run_trial


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

    def stop(self) -> None:
        """Stop what runs; its results, and those of the queued jobs, are `stopped`."""
        ...


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time: a GPU, or a number of CPU threads (None: Caffe's own)."""

    gpu: int | None = None
    threads: int | None = None

    def caffe(self, caffe: Caffe) -> Caffe:
        """A `caffe` that runs here."""
        return replace(caffe, gpu=self.gpu, threads=self.threads)


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
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._count = len(slots)
        self._on_event = on_event
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="slot")

    @property
    def slots(self) -> int:
        """Trials that run at a time."""
        return self._count

    def submit(self, job: Job) -> Future[TrialResult]:
        """Queue a job; it takes the first free slot."""
        return self._pool.submit(self._run, job)

    def stop(self) -> None:
        """See `Executor`."""
        self._stop.set()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._pool.shutdown(wait=True)

    def _run(self, job: Job) -> TrialResult:
        slot = self._free.get()
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
            self._free.put(slot)
