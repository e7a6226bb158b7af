"""One supervised `caffe` process: its log followed, its time limited, its end certain.

The child leads a session of its own and writes its log itself, so a killed driver loses none of
it. On Linux the kernel kills the child when the thread that started it dies (PR_SET_PDEATHSIG);
what outlives it all the same (a wrapper's children, a session of its own, other systems) is
found by a token in its environment. The token lies in a mark file for as long as the process may
live, and `end_orphans` ends every process that carries it. What runs on another host or in a
container carries no token: the user's `CAFFE_STOP` ends it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import psutil

from reproduce.training.commands import StopCommand, StopSignal
from reproduce.training.log_parser import Event, LogFollower, TrainLoss

MOST_GRACE_S = 600.0
"""The longest that a process may take to obey SIGINT, however slow its iterations are."""

logger = logging.getLogger(__name__)

_TOKEN = "METAQNN_PROCESS"  # noqa: S105 (the name of a variable, no secret)

# Runs between fork and exec, outside the driver: preexec_fn is unsafe where there are threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, argv = int(sys.argv[1]), sys.argv[2:]
for number in (signal.SIGINT, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's workers block SIGINT
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == parent:
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"ERROR: cannot run {argv[0]}: {error.strerror}")
"""

Reason = Literal["exited", "killed", "stopped", "timeout"]


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        reason: `exited` by itself, whatever its exit code; `killed` because the caller asked;
            `stopped` by the stop event; `timeout`.
        returncode: the exit code, negative for a signal.
        seconds: wall time.
        kernel_out_of_memory: it got a SIGKILL that is not ours, while the kernel's count of
            processes killed for lack of memory rose.
    """

    reason: Reason
    returncode: int
    seconds: float
    kernel_out_of_memory: bool

    @property
    def how(self) -> str:
        """The exit code or the signal, in words."""
        if self.returncode >= 0:
            return f"exit code {self.returncode}"
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-self.returncode).name}"
        return f"ended by signal {-self.returncode}"


def end_orphans(mark: Path, stop: Sequence[str] = ()) -> int:
    """End what a dead driver left running in a folder; returns how many local processes that were.

    `stop` has the words of `CAFFE_STOP`. That it fails says nothing here: there may be nothing
    left to end.

    Raises:
        TimeoutError: if one of them outlives SIGKILL by half a minute.
    """
    try:
        left = json.loads(mark.read_text())
    except FileNotFoundError:
        return 0
    except ValueError:  # torn while it was written: nothing had been started
        mark.unlink(missing_ok=True)
        return 0
    if stop and left["values"]:
        StopCommand(tuple(stop), left["values"]).send("KILL", os.environ)
    ended = _end_all(left["token"], mark.parent)
    mark.unlink(missing_ok=True)
    return ended


def _end_all(token: str, folder: Path) -> int:
    """End every process of this machine that carries a token."""
    ended: set[int] = set()
    deadline = time.monotonic() + 30
    while found := list(_carriers(token)):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=1)
        ended |= {process.pid for process in found}
        if time.monotonic() > deadline:
            raise TimeoutError(f"a process of {folder} cannot be ended: {sorted(ended)}")
    return len(ended)


def _carriers(token: str) -> Iterator[psutil.Process]:
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.environ().get(_TOKEN) == token:
                yield process


def kernel_oom_kills(counters: Path = Path("/proc/vmstat")) -> int:
    """Processes the Linux kernel has killed for lack of memory since boot; 0 elsewhere."""
    with contextlib.suppress(OSError):
        for line in counters.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class CaffeProcess:
    """A context manager around one process; leaving it leaves no process behind.

    Args:
        argv: program and arguments.
        cwd: where it runs.
        env: its environment.
        log: file that its stdout and stderr are appended to.
        mark: file that marks the process while it may live; see `end_orphans`.
        timeout_s: seconds after which it is ended; None for no limit.
        stop: when set, the process is ended and may write a snapshot first.
        stop_command: signals what local signals do not reach. Where it passes SIGINT on, the
            local process is left to end by itself: `ssh` would end at once and cut Caffe off.
        grace_s: seconds between SIGINT (Caffe writes a snapshot and ends) and SIGKILL. Caffe
            obeys between two iterations: what `IterationTime` allows for one is added, up to
            `MOST_GRACE_S` in all.

    Raises:
        OSError: on entry, if the log or the mark cannot be written or nothing can be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        mark: Path,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
        stop_command: StopCommand | None = None,
        grace_s: float = 30.0,
        poll_s: float = 0.02,
    ) -> None:
        self._argv, self._cwd, self._env = list(argv), cwd, dict(env)
        self._log, self._mark = log, mark
        self._timeout_s, self._grace_s, self._poll_s = timeout_s, grace_s, poll_s
        self._stop = stop or threading.Event()
        self._stop_command = stop_command
        self._token = uuid.uuid4().hex
        self._env[_TOKEN] = self._token
        self._reason: Reason = "exited"
        self._sigkilled = False
        self._ending: Ending | None = None

    def __enter__(self) -> CaffeProcess:
        command = self._stop_command
        end_orphans(self._mark, command.words if command else ())
        values = dict(command.values) if command else {}
        launcher = []
        if sys.platform == "linux":
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        self._oom_kills = kernel_oom_kills()
        self._started = time.monotonic()
        self._iterations = IterationTime(self._started)
        try:
            self._mark.write_text(json.dumps({"token": self._token, "values": values}))
            with self._log.open("ab") as log:
                self._popen = subprocess.Popen(
                    launcher + self._argv,
                    cwd=self._cwd,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError:
            self._mark.unlink(missing_ok=True)  # nothing was started
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ending is not None:
            return
        try:
            deadline = self._interrupt()
            while not self._exited() and time.monotonic() < deadline:
                time.sleep(self._poll_s)
        finally:
            self._kill()
            self._reap()

    def events(self) -> Iterator[Event]:
        """The log's events as they come, until the process has ended; then `ending` is known."""
        follower = LogFollower(self._log)
        kill_at: float | None = None
        while True:
            exited = self._exited()  # before the poll: nothing is written after it
            events = follower.poll()
            self._iterations.take(events, time.monotonic())
            yield from events
            if exited:
                break
            now = time.monotonic()
            if kill_at is not None:
                if now >= kill_at:
                    self._kill()
            elif self._reason == "exited" and (reason := self._due(now)):
                self._reason, kill_at = reason, self._interrupt()
            time.sleep(self._poll_s)
        self._reap()

    def kill(self) -> None:
        """End the process now, without a snapshot; `events` goes on to its end."""
        if self._reason == "exited":
            self._reason = "killed"
        self._kill()

    @property
    def ending(self) -> Ending:
        """How it ended; known when `events` is exhausted or the context is left."""
        if self._ending is None:
            raise RuntimeError("the process still runs")
        return self._ending

    def _due(self, now: float) -> Reason | None:
        if self._stop.is_set():
            return "stopped"
        if self._timeout_s is not None and now - self._started >= self._timeout_s:
            return "timeout"
        return None

    def _exited(self) -> bool:
        """Whether the child has ended; it stays a zombie, so that its ids stay its own."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._popen.poll() is not None
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self._popen.pid, options) is not None

    def _interrupt(self) -> float:
        """Ask Caffe to write a snapshot and end; returns until when it may take for that."""
        allowance = self._iterations.allowance(time.monotonic())
        grace = min(self._grace_s + allowance, MOST_GRACE_S)
        if not self._exited():
            said = "%s: Caffe may take up to %.0f s to end its iteration and write a snapshot"
            logger.info(said, self._mark.parent.name, grace)
        if not self._send("INT"):
            self._signal(signal.SIGINT)
        return time.monotonic() + grace

    def _kill(self) -> None:
        """End Caffe now, wherever it runs."""
        if not self._sigkilled and not self._exited():
            self._sigkilled = True
            self._send("KILL")
        self._signal(signal.SIGKILL)

    def _send(self, number: StopSignal) -> bool:
        """Send a signal by the stop command; a complaint goes to the log."""
        if self._stop_command is None:
            return False
        complaint = self._stop_command.send(number, self._env)
        if complaint:
            with contextlib.suppress(OSError), self._log.open("ab") as log:
                log.write(f"\nERROR: {complaint}\n".encode())
        return not complaint

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole session's process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def _reap(self) -> None:
        """End what the child left behind, and take its exit code."""
        self._signal(signal.SIGKILL)
        code = self._popen.wait()
        seconds = time.monotonic() - self._started
        killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL) and not self._sigkilled
        out_of_memory = killed and kernel_oom_kills() > self._oom_kills
        self._ending = Ending(self._reason, code, seconds, out_of_memory)
        if code != 0 and not self._sigkilled and self._stop_command is not None:
            self._stop_command.send("KILL", self._env)  # a connection may have broken
        _end_all(self._token, self._mark.parent)
        self._mark.unlink(missing_ok=True)


class IterationTime:
    """How long an iteration takes, told by when lines of training loss arrive."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._last: tuple[int, float] | None = None
        self._first: float | None = None
        self._longest: float | None = None

    def take(self, events: Iterable[Event], now: float) -> None:
        """Take events that have just arrived."""
        for event in events:
            if not isinstance(event, TrainLoss):
                continue
            if self._last is None:
                self._first = now - self._started
            else:
                iteration, at = self._last
                each = (now - at) / max(1, event.iteration - iteration)
                self._longest = max(self._longest or 0.0, each)
            self._last = event.iteration, now

    def allowance(self, now: float) -> float:
        """Seconds to wait for the end of an iteration that may just have begun.

        Three times the longest or, before the second line, what the first took: it has an
        iteration in it. Before the first line what has passed, which every whole iteration is
        shorter than; without one there is nothing to lose.
        """
        if self._longest is not None:
            return 3 * self._longest
        return now - self._started if self._first is None else 3 * self._first
