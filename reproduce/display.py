"""A run's progress on the terminal: one line per step, and a live line while training."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from reproduce.training.trial import (
    EpochFinished,
    PhaseStarted,
    Restarted,
    Retried,
    TrainProgress,
    TrialEvent,
    TrialFinished,
)

LONG_STEP = 10.0
"""Seconds from which a step of the data's preparation gets a line of its own."""


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 42 s, 7 min, 3.2 h, 12 days, 5.1 years."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds < 730 * 86400:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / (365.25 * 86400):.1f} years"


class Display:
    """Prints a run's steps; safe to call from the executor's threads.

    Where standard output is no terminal there is no live line, and a line for each epoch says
    what it would have.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._heading = ""
        self._until: float | None = None
        self._step = ("", 0.0)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(Text(""), console=self.console, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self, text: str) -> None:
        """Print one line."""
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def heading(self, text: str, seconds_left: float | None) -> None:
        """What is being trained, and the time that the whole run still needs, if known."""
        with self._lock:
            self._heading = text
            self._until = None if seconds_left is None else time.monotonic() + seconds_left
        self.line(f"{text}{self._eta()}")

    def data_step(self, what: str, done: int, total: int) -> None:
        """Show how far a step of the data's preparation is; a line once a long one ends.

        `total` is 0 where it is unknown.
        """
        name, started = self._step
        if what != name:
            self._step = what, started = what, time.monotonic()
        passed = time.monotonic() - started
        if total and done >= total:
            if passed >= LONG_STEP:
                self.line(f"    {what}: {duration(passed)}")
        elif total and done:
            left = duration(passed * (total - done) / done)
            self._status(f"{what} {done / total:.0%}, about {left} left")

    def _eta(self) -> str:
        if self._until is None:
            return ""
        return f"  (about {duration(max(0.0, self._until - time.monotonic()))} left in all)"

    def trial_event(self, event: TrialEvent, trial: str = "") -> None:
        """Show a step of a trial under way; `trial` names it where several are."""
        match event:
            case EpochFinished(_, epoch, of, accuracy, loss):
                shown = "" if loss is None else f", loss {loss:.4g}"
                shown = f"{trial}epoch {epoch}/{of}: accuracy {accuracy:.4f}{shown}"
                self.line(f"    {shown}{self._eta()}")
            case Restarted(_, rate, reason):
                self.line(f"    {trial}restart at learning rate {rate:g}: {reason}")
            case Retried(_, reason):
                self.line(f"    {trial}started again: {reason}")
            case PhaseStarted(_, rate, start, end):
                self._status(f"{trial}iteration {start}/{end}, learning rate {rate:g}")
            case TrainProgress(_, iteration, of, loss, speed):
                pace = "" if speed is None else f", {speed:.1f} iterations/s"
                self._status(f"{trial}iteration {iteration}/{of}, loss {loss:.4g}{pace}")
            case TrialFinished(result):
                if result.message:
                    outcome = result.outcome.replace("_", " ")
                    self.line(f"    {trial}{outcome}: {result.message}")

    def _status(self, text: str) -> None:
        with self._lock:
            if self._live is not None:
                heading = f"{self._heading}: " if self._heading else "    "
                self._live.update(Text(f"{heading}{text}{self._eta()}"))
