"""What runs on Ray's nodes: a trial, in a folder that looks like the driver's.

The machines need not share files. A trial runs in a scratch folder of its node that mirrors the
smallest folder that holds both the run and the data set:

    <scratch>/trials/<token>/runs/mnist/trials/0001    the trial's folder
    <scratch>/trials/<token>/data/mnist-1a2b3c4d       a link to the data set on this node
    <scratch>/data/<digest>                            the data set, staged once per node

So the relative paths in a prototxt hold as they are, and a net's text is the same wherever it
trains. <scratch> is `metaqnn-<uid>` in the node's temporary folder; each launch prunes it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shlex
import shutil
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reproduce.training.caffe import Caffe, CaffeError, find_caffe
from reproduce.training.executors import Job
from reproduce.training.preflight import Preflight, PreflightError, preflight
from reproduce.training.ray_files import (
    DataSet,
    RayError,
    locked,
    prune,
    remove_site,
    replace_folder,
    stage,
)
from reproduce.training.ray_files import trial_files as files_of
from reproduce.training.recipe import Recipe
from reproduce.training.trial import TrialError, run_trial
from reproduce.training.trial_events import TrialEvent

_POLL_S = 0.2


@dataclass(frozen=True)
class Order:
    """One trial as a node gets it; paths without `root` are relative to the mirrored folder.

    Attributes:
        token: names this trial of this run, with this net and recipe.
        root: on the driver's machine, the smallest folder that holds the run and the data.
        run: the run's folder.
        folder: the trial's folder.
        data: the data set, if nets read one.
        data_at: where they expect it.
    """

    token: str
    root: Path
    run: Path
    folder: Path
    data: DataSet | None
    data_at: Path
    net_text: str
    recipe: Recipe
    caffe: Caffe

    @classmethod
    def of(cls, job: Job, data: DataSet | None, caffe: Caffe) -> Order:
        """A job's order.

        Raises:
            TrialError: if the trial's folder is outside the run's.
            RayError: if the run's folder is inside the data set's.
        """
        run, folder = job.run_folder.absolute(), job.folder.absolute()
        if not folder.is_relative_to(run):
            raise TrialError(f"{folder} is not inside {run}")
        data_folder = run if data is None else data.folder
        root = Path(os.path.commonpath([run.parent, data_folder]))
        if root == data_folder:
            raise RayError(f"{run} must not lie inside the data set's folder {data_folder}")
        identity = (socket.gethostname(), str(folder), job.net_text, job.recipe.identity())
        return cls(
            token=hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16],
            root=root,
            run=run.relative_to(root),
            folder=folder.relative_to(root),
            data=data,
            data_at=data_folder.relative_to(root),
            net_text=job.net_text,
            recipe=job.recipe,
            caffe=caffe,
        )

    def as_driver_sees(self, message: str, site: Path) -> str:
        """A message with the driver's folders in place of this node's."""
        return message.replace(str(site), str(self.root))


@dataclass(frozen=True)
class Begun:
    """A launch has begun on a node of this host name."""

    node: str


class Coordinator:
    """What trials and driver tell each other: an actor on the driver's machine."""

    def __init__(self, data: DataSet | None) -> None:
        self._data = data
        self._events: deque[tuple[int, TrialEvent | Begun]] = deque(maxlen=10_000)
        self._begun: set[int] = set()
        self._stopping = False

    def begin(self, launch: int, node: str) -> bool:
        """Whether a launch may still begin, on a node of this host name."""
        if not self._stopping:
            self._begun.add(launch)
            self._events.append((launch, Begun(node)))
        return not self._stopping

    def stop(self) -> set[int]:
        """Let no launch begin, and those that run stop; returns those that have begun."""
        self._stopping = True
        return self._begun

    def stopping(self) -> bool:
        """Whether what runs shall stop."""
        return self._stopping

    def tell(self, launch: int, event: TrialEvent) -> None:
        """Note a trial's event; where nobody takes them, the oldest are dropped."""
        self._events.append((launch, event))

    def take_events(self) -> list[tuple[int, TrialEvent | Begun]]:
        """What was told since the last call, each with its launch."""
        taken = list(self._events)
        self._events.clear()
        return taken

    def read(self, name: str, offset: int) -> bytes:
        """See `DataSet.read`."""
        if self._data is None:
            raise RayError("there is no data set")
        return self._data.read(name, offset)


class _Line:
    """One launch's line to the coordinator.

    Ray lends a task's CPUs to other tasks while its main thread waits, so another thread waits.
    """

    def __init__(self, coordinator: Any, launch: int) -> None:
        self._coordinator, self._launch = coordinator, launch
        self._waiter = ThreadPoolExecutor(1)
        self.lost = False

    def ask(self, method: str, *arguments: object) -> Any:
        import ray

        reference = getattr(self._coordinator, method).remote(*arguments)
        return self._waiter.submit(ray.get, reference).result()

    def tell(self, event: TrialEvent) -> None:
        self._coordinator.tell.remote(self._launch, event)

    def begin(self) -> bool:
        return bool(self.ask("begin", self._launch, socket.gethostname()))

    @contextlib.contextmanager
    def stop_event(self) -> Iterator[threading.Event]:
        """Set when the driver wants trials to stop, or is gone."""
        stop, done = threading.Event(), threading.Event()

        def watch() -> None:
            while not (stop.is_set() or done.wait(_POLL_S)):
                try:
                    stopping = self.ask("stopping")
                except Exception:
                    stopping = self.lost = True
                if stopping:
                    stop.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield stop
        finally:
            done.set()
            watcher.join()

    def close(self) -> None:
        self._waiter.shutdown()


def train_on_node(
    coordinator: Any, launch: int, order: Order, files: Mapping[str, bytes]
) -> tuple[str, dict[str, bytes]] | None:
    """Run a trial here; returns its result as JSON and its folder's files.

    It goes on where an earlier launch left its folder on this node, else from `files`. None:
    the driver has asked to stop before it began. Raises as `run_trial` does, and RayError if
    this node cannot train.
    """
    with _line(coordinator, launch) as line:
        if not line.begin():
            return None
        caffe = caffe_here(order.caffe)
        with _site(order, line) as site:
            run, folder = site / order.run, site / order.folder
            if not folder.exists():
                replace_folder(folder, files)
            try:
                with line.stop_event() as stop:
                    result = run_trial(
                        folder, run, order.net_text, order.recipe, caffe, line.tell, stop
                    )
            except TrialError as error:
                raise TrialError(order.as_driver_sees(str(error), site)) from None
            # Answered after all events, which so arrive before the result does.
            if not line.lost:
                line.ask("stopping")
            return result.to_json(), files_of(folder)


def check_on_node(
    coordinator: Any, launch: int, order: Order
) -> tuple[Preflight | str, dict[str, bytes]]:
    """Run the preflight of an order's net here; returns what it measured, or the failure.

    With it come its logs. Raises RayError if this node cannot train.
    """
    with _line(coordinator, launch) as line:
        caffe = caffe_here(order.caffe)
        with _site(order, line) as site, line.stop_event() as stop:
            run, folder = site / order.run, site / order.folder
            measured: Preflight | str
            try:
                measured = preflight(folder, run, order.net_text, order.recipe, caffe, stop=stop)
            except PreflightError as error:
                said = order.as_driver_sees(str(error), site)
                measured = f"{said} (on {socket.gethostname()})"
            return measured, files_of(folder)


@contextlib.contextmanager
def _site(order: Order, line: _Line) -> Iterator[Path]:
    """The folder that mirrors the driver's, kept from other launches of this order."""
    scratch = _scratch()
    site = scratch / "trials" / order.token
    # A launch that Ray holds for dead may still be at its end.
    with locked(site / ".lock"):
        try:
            (site / order.run).mkdir(parents=True, exist_ok=True)
            if order.data is not None:
                read = functools.partial(line.ask, "read")
                _link(site / order.data_at, stage(order.data, scratch / "data", read))
            with contextlib.suppress(OSError):
                prune(scratch)
            yield site
        finally:
            if not line.lost:  # else nobody takes the files; another driver may go on here
                remove_site(site)


@contextlib.contextmanager
def _line(coordinator: Any, launch: int) -> Iterator[_Line]:
    line = _Line(coordinator, launch)
    try:
        yield line
    finally:
        line.close()


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _scratch() -> Path:
    scratch = Path(tempfile.gettempdir()) / f"metaqnn-{os.getuid()}"
    scratch.mkdir(mode=0o700, exist_ok=True)
    if scratch.is_symlink() or scratch.stat().st_uid != os.getuid():
        raise RayError(
            f"{socket.gethostname()}: {scratch} belongs to another user; "
            "start Ray there with TMPDIR set to a folder of your own"
        )
    return scratch


@functools.cache
def caffe_here(caffe: Caffe) -> Caffe:
    """The driver's `caffe` on this node; the embedded one may lie in another clone here.

    Raises:
        RayError: if it is missing, or of another version than goes into the records.
    """
    host, argv = socket.gethostname(), caffe.argv
    if own := caffe.kind == "embedded" and shutil.which(argv[0]) is None:
        argv = (sys.executable, "-m", "caffe_torch")
    words = {"CAFFE": shlex.join(argv), "CAFFE_STOP": shlex.join(caffe.stop)}
    try:
        found = find_caffe({**os.environ, **words})
    except CaffeError as error:
        missing = "the embedded caffe is missing, `make setup` in its clone installs it: "
        raise RayError(f"{host}: {missing if own else ''}{error}") from None
    if found.version != caffe.version:
        raise RayError(
            f"{host} trains with {found.version}, the driver with {caffe.version}: "
            "install the same on every machine"
        )
    return replace(caffe, argv=argv)
