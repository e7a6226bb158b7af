"""Trials on several machines: Ray starts them where there is room, the driver alone writes.

A trial sets out with the files of its folder in the run; at its end its files come back, and the
driver puts them there. `ray_node` says how it runs on its node.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reproduce.training.executors import Job
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.preflight import Preflight, PreflightError
from reproduce.training.ray_cluster import first_line, import_ray, join, room
from reproduce.training.ray_files import DataSet, RayError, replace_folder, trial_files
from reproduce.training.ray_node import (
    Begun,
    Coordinator,
    Order,
    check_on_node,
    train_on_node,
)
from reproduce.training.trial_events import PhaseStarted, Retried, TrialEvent

__all__ = ["RayError", "RayExecutor"]

_POLL_S = 0.2

log = logging.getLogger(__name__)


@dataclass
class _Launch:
    """A job under way; `number` tells this launch of it from earlier ones."""

    job: Job
    order: Order
    future: Future[TrialResult]
    number: int = 0
    deaths: int = 0
    attempt: int = 0


class RayExecutor:
    """Trials as Ray tasks; a context manager. Leaving it stops what still runs.

    One thread of the driver starts the tasks, takes their results and writes the trials' folders.
    """

    def __init__(
        self,
        *,
        gpus: float = 0.0,
        cpus: float = 1.0,
        address: str | None = None,
        data: Path | None = None,
        on_event: Callable[[Job, TrialEvent], None] = lambda job, event: None,
        retries: int = 3,
    ) -> None:
        """Join a cluster, or start Ray on this machine.

        Args:
            gpus: GPUs of one trial, 0 to 1; trials that share a GPU share its memory.
            cpus: CPUs of one trial; without a GPU also the threads of its process.
            address: of a cluster that this machine has joined. None: `$RAY_ADDRESS`, else the
                cluster that runs here, else a Ray of this machine alone.
            data: the prepared folder that nets name, relative to the run's folder.
            on_event: gets the trials' events, those that arrive, from one thread.
            retries: how often a trial is started again because its node or worker died.

        Raises:
            RayError: if Ray is missing or cannot be joined, or no node can hold a trial.
        """
        if not 0 <= gpus <= 1 or cpus < 0 or gpus == cpus == 0:
            raise RayError(f"a trial takes up to one GPU, and CPUs; not {gpus:g} and {cpus:g}")
        self._ray = import_ray()
        self._gpus, self._cpus, self._retries = gpus, cpus, retries
        self._data = None if data is None else DataSet.of(data)
        self._on_event = on_event
        self._joined = join(self._ray, address)
        try:
            if not self._room():
                wanted = f"{gpus:g} GPU and {cpus:g} CPUs" if gpus else f"{cpus:g} CPUs"
                raise RayError(f"no node of the Ray cluster has the {wanted} that a trial takes")
            self._coordinator = self._start_coordinator()
        except BaseException:
            self._leave()
            raise
        task = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": "SPREAD"}
        # Ray's own retries stay out of it: they would not say that a node died, nor give up
        # where the worker runs out of memory each time.
        self._task = self._ray.remote(train_on_node).options(max_retries=0, **task)
        self._check = self._ray.remote(check_on_node).options(max_retries=retries, **task)
        self._inbox: queue.SimpleQueue[_Launch] = queue.SimpleQueue()
        self._running: dict[Any, _Launch] = {}  # by the reference to the result to come
        self._numbers = itertools.count()
        self._places: dict[str, str] = {}
        self._stop = threading.Event()
        self._stop_told = self._closed = False
        self._thread = threading.Thread(target=self._work, name="ray-executor")
        self._thread.start()

    @property
    def slots(self) -> int:
        """Trials that the cluster holds now; at least 1, since a lost node may come back."""
        return max(1, self._room())

    def submit(self, job: Job) -> Future[TrialResult]:
        """Queue a job; Ray starts it where there is room.

        Its future raises what `run_trial` does, and RayError where a node cannot train.
        """
        if self._closed:
            raise RuntimeError("the executor is closed")
        future: Future[TrialResult] = Future()
        try:
            self._inbox.put(_Launch(job, self._order(job), future))
        except RuntimeError as error:
            future.set_exception(error)
        return future

    def _order(self, job: Job) -> Order:
        caffe = replace(
            job.caffe,
            gpu=0 if self._gpus else None,  # the first of those that Ray lets the task see
            threads=None if self._gpus else max(1, int(self._cpus)),
        )
        return Order.of(job, self._data, caffe)

    def check(self, job: Job) -> Preflight:
        """Run the preflight of a job's net on a node, once there is room; its logs come back.

        Raises:
            PreflightError: if Caffe fails there at any of it.
            RayError: if the node cannot train, or the cluster is gone.
            TrialError: if the job's folder is outside the run's.
        """
        order = self._order(job)
        reference = self._check.remote(self._coordinator, next(self._numbers), order)
        try:
            while not self._ray.wait([reference], timeout=_POLL_S)[0]:
                pass  # Ctrl-C gets through between two calls
            measured, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise self._said_by_ray(error) from error
        replace_folder(job.folder, files)
        if isinstance(measured, str):
            raise PreflightError(measured)
        checked: Preflight = measured
        return checked

    def place(self, key: str) -> str | None:
        """The host name of the node that a job runs or ran on last; None before it has started."""
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
        self._closed = True
        self._thread.join()
        self._ray.kill(self._coordinator)
        self._leave()

    def _leave(self) -> None:
        if self._joined:
            self._ray.shutdown()

    def _room(self) -> int:
        return room(self._ray, self._gpus, self._cpus)

    def _start_coordinator(self) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(
            self._ray.get_runtime_context().get_node_id(), soft=False
        )
        actor = self._ray.remote(Coordinator).options(num_cpus=0, scheduling_strategy=here)
        return actor.remote(self._data)

    def _work(self) -> None:
        """The thread: turns until the context is left and no task is out."""
        while not self._closed or self._running or not self._inbox.empty():
            try:
                self._turn()
            except Exception as error:  # an event that cannot be shown, a cluster that is gone
                for launch in self._running.values():
                    launch.future.set_exception(self._said_by_ray(error))
                self._running.clear()

    def _turn(self) -> None:
        """Take what was submitted, then what the trials have told, then results."""
        with contextlib.suppress(queue.Empty):
            if not self._running:
                self._accept(self._inbox.get(timeout=_POLL_S))
            while True:
                self._accept(self._inbox.get_nowait())
        if self._stop.is_set() and not self._stop_told:
            begun = self._ray.get(self._coordinator.stop.remote())
            self._stop_told = True
            for reference, launch in self._running.items():
                if launch.number not in begun:  # those that have begun end by themselves
                    self._ray.cancel(reference)
        if self._running:
            done, _ = self._ray.wait(list(self._running), timeout=_POLL_S)
            self._deliver()
            for reference in done:
                self._end(reference)

    def _accept(self, launch: _Launch) -> None:
        if launch.future.set_running_or_notify_cancel():
            try:
                self._start(launch)
            except Exception as error:
                launch.future.set_exception(error)

    def _start(self, launch: _Launch) -> None:
        if self._stop.is_set():
            launch.future.set_result(_untrained(launch.job, Outcome.STOPPED, "asked to stop"))
            return
        launch.number = next(self._numbers)
        files = trial_files(launch.job.folder)
        reference = self._task.remote(self._coordinator, launch.number, launch.order, files)
        self._running[reference] = launch

    def _deliver(self) -> None:
        """Pass on events, but for those of launches that are given up."""
        launches = {launch.number: launch for launch in self._running.values()}
        for number, event in self._ray.get(self._coordinator.take_events.remote()):
            if launch := launches.get(number):
                if isinstance(event, Begun):
                    self._places[launch.job.key] = event.node
                    continue
                if isinstance(event, PhaseStarted):
                    launch.attempt = event.attempt
                self._on_event(launch.job, event)

    def _end(self, reference: Any) -> None:
        """A launch is over: with a result, an error, or the death of its node or worker."""
        launch = self._running[reference]
        job, future, of_ray = launch.job, launch.future, self._ray.exceptions
        try:
            returned = self._ray.get(reference)
            if returned is None:
                future.set_result(_untrained(job, Outcome.STOPPED, "asked to stop"))
            else:
                text, files = returned
                replace_folder(job.folder, files)
                future.set_result(TrialResult.from_json(text))
        except of_ray.TaskCancelledError:
            future.set_result(_untrained(job, Outcome.STOPPED, "asked to stop"))
        except (
            of_ray.WorkerCrashedError,
            of_ray.NodeDiedError,
            of_ray.ObjectLostError,
            of_ray.OutOfMemoryError,
        ) as error:
            self._died(launch, f"{type(error).__name__}: {first_line(error)}")
        except (of_ray.RayError, OSError, RayError) as error:
            future.set_exception(self._said_by_ray(error))
        del self._running[reference]

    def _said_by_ray(self, error: Exception) -> BaseException:
        """An error of Ray's in one line, or what it wraps; any other as it is."""
        of_ray = self._ray.exceptions
        cause: BaseException = getattr(error, "cause", error)
        if isinstance(error, of_ray.RayTaskError) and not isinstance(cause, of_ray.RayError):
            return cause
        if isinstance(error, of_ray.RayTaskError):  # the task could not be loaded there
            return RayError(f"a node cannot train: {first_line(cause)}")
        return RayError(first_line(error)) if isinstance(error, of_ray.RayError) else error

    def _died(self, launch: _Launch, reason: str) -> None:
        launch.deaths += 1
        if launch.deaths > self._retries and not self._stop.is_set():
            said = f"its node or worker died {launch.deaths} times; the last: {reason}"
            launch.future.set_result(_untrained(launch.job, Outcome.CRASHED, said))
            return
        self._on_event(launch.job, Retried(launch.attempt, reason))
        if not self._room():
            log.warning("No node is left that can hold a trial; waiting for one.")
        self._start(launch)


def _untrained(job: Job, outcome: Outcome, message: str) -> TrialResult:
    rate = job.recipe.learning_rate(0)
    return TrialResult(outcome, (), rate, 0, 0, 0.0, str(job.caffe), message)
