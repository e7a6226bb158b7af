"""Caffe's log as typed events.

Caffe logs through glog: a line is `I1124 17:48:13.476761 10291 solver.cpp:239] message`, mixed
with the net's prototxt, lines of the prefetch threads and, at the end of an unhappy run, stack
traces. Only whole lines count: what a killed process tore off is never read as a number.

Events come in the log's order. `parse_columns` gives the same numbers as arrays, faster. A long
log is scanned as a whole: a line that tells nothing costs no Python.
"""

from __future__ import annotations

import datetime
import gc
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reproduce.training.log_events import (
    Error,
    Event,
    Fatal,
    Finished,
    LearningRate,
    Resumed,
    Signal,
    Snapshot,
    StoppedEarly,
    TestOutput,
    TestStart,
    TrainLoss,
    TrainOutput,
)

__all__ = [
    "Columns",
    "Error",
    "Event",
    "Fatal",
    "Finished",
    "LearningRate",
    "LogFollower",
    "LogParser",
    "Resumed",
    "Signal",
    "Snapshot",
    "StoppedEarly",
    "TestOutput",
    "TestStart",
    "TrainLoss",
    "TrainOutput",
    "parse_columns",
    "parse_events",
]

# [0-9] in what meets every line: re matches \d more slowly.
_NUMBER = rb"([-+.0-9A-Za-z_]+)"  # float() decides; nan, -nan and inf are numbers here
_ITERATION = (
    rb"Iteration ([0-9]{1,18})(?:, (?:Testing net \(#([0-9]{1,9})\)|lr = "
    + _NUMBER
    + rb")|(?: \([^])\n]*\))?, loss = "
    + _NUMBER
    + rb")"
)
_OUTPUT = (
    rb" net output #([0-9]{1,9}): ([^]\n]+?) = "
    + _NUMBER
    + rb"(?: \(\* "
    + _NUMBER
    + rb" = [-+.0-9A-Za-z_]+ loss\))?"
)
_MESSAGE = rb"(?:" + _ITERATION + rb"|    (Train|Test)" + _OUTPUT + rb")\r*"
_NUMBERS = re.compile(_MESSAGE)
# What follows a line's head: numbers, or the line's rest where it may name a file or an end.
_TELLING = re.compile(
    rb"] (?:"
    + _MESSAGE
    + rb"\n|(?:Snapshotting |Resuming from |Restoring previous |Optimization )[^\n]*)"
)
# A line of no such head, nor of the net's prototxt, nor of a stack trace.
_OTHER = re.compile(rb"\n(?!I\d|[ }\n](?!   T| what))([^\n]+)")
_STAMP = re.compile(rb"([IWEF][0-9]{4,8} [0-9][0-9]:[0-9][0-9]:)([0-9][0-9])\.([0-9]{6}) ")
_MINUTE = re.compile(rb"[IWEF](?:\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):")
_DAY = 86_400_000_000  # microseconds
_SEVERE = re.compile(rb"([EF])\d{4,8} \d\d:\d\d:\d\d\.\d+ +\d+ [^]]+\] ?(.*)", re.DOTALL)
_SNAPSHOT = re.compile(rb"Snapshotting (solver state )?to (?:binary proto|HDF5) file (.+)")
_RESUMED = re.compile(rb"Res(?:uming|toring previous solver status) from (.+)")
_SIGNAL = re.compile(rb"\*\*\* (SIG[A-Z0-9]+) (.*?)(?:; stack trace: )?\*\*\*")
_COMPLAINT = re.compile(
    rb"\[libprotobuf (?:ERROR|FATAL)[^]]*\] (.*)|(ERROR: .*|terminate called .*|  what\(\): .*"
    rb"|(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: .*)?)"
)
_IN_NAME = re.compile(r"_iter_(\d{1,18})\.(?:solverstate|caffemodel)(?:\.h5)?$")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _iteration_in(path: str) -> int | None:
    found = _IN_NAME.search(path)
    return int(found[1]) if found else None


class _Clock:
    """Seconds since a log's first stamp. glog leaves out the year; a leap year stands in."""

    def __init__(self) -> None:
        self._minutes: dict[bytes, int | None] = {}
        self._first: int | None = None

    def start(self, log: bytes) -> None:
        """Look for the first stamp, if none has been seen."""
        at = 0
        while self._first is None and at < len(log):
            self.seconds(log, at)
            at = log.find(b"\n", at) + 1 or len(log)

    def seconds(self, log: bytes, at: int) -> float | None:
        """Seconds from the first stamp to the one at an offset; None where there is none."""
        match = _STAMP.match(log, at)
        if match is None:
            return None
        key, second, micros = match.groups()
        minute = self._minutes.get(key)
        if minute is None:
            minute = self._minutes[key] = self._minute(key)
            if minute is None:
                return None
        now = minute + int(second + micros)
        if self._first is None:
            self._first = now
        passed = now - self._first
        return (passed if passed > -_DAY else passed + 366 * _DAY) / 1e6

    def all_seconds(self, log: bytes, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """`seconds` at the offsets of lines of at least 22 bytes; nan for None."""
        if not at.size or self._first is None:
            return np.full(at.shape, np.nan)
        text: NDArray[np.uint8] = np.frombuffer(log, np.uint8)
        stamps = sliding_window_view(text, 22)[at]
        digits = stamps[:, [12, 13, 15, 16, 17, 18, 19, 20]] - ord("0")  # of I1124 17:48:36.986599
        usual = (digits < 10).all(axis=1) & (stamps[:, [14, 21]] == list(b". ")).all(axis=1)
        keys = stamps[:, :12]
        changes = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
        bounds = np.concatenate([[0], changes, [len(keys)]])
        minutes = [self._minute(keys[i].tobytes()) or 0 for i in bounds[:-1]]
        minute = np.repeat(minutes, np.diff(bounds))
        passed = minute + digits @ 10 ** np.arange(7, -1, -1) - self._first
        seconds: NDArray[np.float64] = np.where(passed > -_DAY, passed, passed + 366 * _DAY) / 1e6
        for i in np.flatnonzero(~usual | (minute == 0)):  # no stamp, or one with its year
            scalar = self.seconds(log, int(at[i]))
            seconds[i] = np.nan if scalar is None else scalar
        return seconds

    @staticmethod
    def _minute(stamp: bytes) -> int | None:
        """Microseconds into the year of a stamp without its seconds: `I1124 17:48:`."""
        match = _MINUTE.fullmatch(stamp)
        if match is None:
            return None
        month, day, hour, minute = map(int, match.groups())
        try:
            date = datetime.date(2000, month, day)
        except ValueError:
            return None
        return date.timetuple().tm_yday * _DAY + (60 * hour + minute) * 60_000_000


class LogParser:
    """Turns a log into events, piece by piece; how it is cut changes nothing."""

    def __init__(self) -> None:
        self._rest = b""
        self._clock = _Clock()
        self._display = 0  # iteration of the last train line
        self._test: tuple[int, int] | None = None  # iteration and net of the last test

    def feed(self, data: bytes | str) -> list[Event]:
        """Take the log's next piece; returns the events of the lines that it completed."""
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
        log = self._rest + data
        if b"\n" not in data:
            self._rest = log
            return []
        end = log.rindex(b"\n") + 1
        self._rest = log[end:]
        self._clock.start(log)
        events: list[Event] = []
        at = log.index(b"\n")
        self._line(log, 0, at, events)
        for other in _OTHER.finditer(log, at, end):
            start, stop = other.span(1)
            self._numbers(_TELLING.finditer(log, at, start), events)
            self._line(log, start, stop, events)
            at = stop
        self._numbers(_TELLING.finditer(log, at, end), events)
        return events

    def _numbers(self, matches: Iterable[re.Match[bytes]], events: list[Event]) -> None:
        """Append what matches of _TELLING or _NUMBERS say."""
        add, seconds = events.append, self._clock.seconds
        for match in matches:
            number, net, rate, loss, phase, index, name, value, weight = match.groups()
            try:
                if loss is not None:
                    self._display = iteration = int(number)
                    start = match.string.rfind(b"\n", 0, match.start()) + 1
                    add(TrainLoss(iteration, float(loss), seconds(match.string, start)))
                elif rate is not None:
                    add(LearningRate(int(number), float(rate)))
                elif value is not None:
                    output, text = int(index), _text(name)
                    loss_weight = None if weight is None else float(weight)
                    if phase == b"Train":
                        add(TrainOutput(self._display, output, text, float(value), loss_weight))
                    elif self._test is not None:
                        add(TestOutput(*self._test, output, text, float(value), loss_weight))
                elif net is not None:
                    self._test = (int(number), int(net))
                    add(TestStart(*self._test))
                else:
                    start = match.string.rfind(b"\n", 0, match.start()) + 1
                    self._line(match.string, start, match.end(), events)
            except ValueError:  # what stands in a number's place is none
                continue

    def _line(self, log: bytes, start: int, stop: int, events: list[Event]) -> None:
        """Append what one line says, whatever its form."""
        head = log.rfind(b"] ", start, stop)
        numbers = _NUMBERS.fullmatch(log, start if head < 0 else head + 2, stop)
        if numbers is not None:
            self._numbers([numbers], events)
            return
        line = log[start:stop].rstrip(b"\r")
        event = (
            _milestone(line.rpartition(b"] ")[2])
            or _milestone(line.partition(b"] ")[2])  # a path may hold the separator
            or _complaint(line)
        )
        if event is not None:
            events.append(event)


def _milestone(message: bytes) -> Event | None:
    if _MINUTE.search(message):  # torn, with another line in it
        return None
    if match := _SNAPSHOT.fullmatch(message):
        path = _text(match[2])
        return Snapshot(_iteration_in(path), path, match[1] is not None)
    if match := _RESUMED.fullmatch(message):
        path = _text(match[1])
        return Resumed(_iteration_in(path), path)
    if message == b"Optimization Done.":
        return Finished()
    return StoppedEarly() if message == b"Optimization stopped early." else None


def _complaint(line: bytes) -> Event | None:
    if match := _SEVERE.fullmatch(line):
        return (Fatal if match[1] == b"F" else Error)(_text(match[2].strip()))
    if match := _SIGNAL.match(line):
        return Signal(_text(match[1]), _text(line.strip(b"* ")))
    if match := _COMPLAINT.fullmatch(line):
        return Error(_text(match[1] or match[2]).strip())
    return None


def parse_events(path: Path) -> list[Event]:
    """All events of a log file. Raises OSError if it cannot be read."""
    data = path.read_bytes()
    collects = gc.isenabled()
    gc.disable()  # events form no cycles; to look for some takes a fifth of a long log's time
    try:
        return LogParser().feed(data)
    finally:
        if collects:
            gc.enable()


class LogFollower:
    """Reads a growing log: each `poll` parses the bytes written since the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parser = LogParser()
        self._offset = 0

    def poll(self) -> list[Event]:
        """Events of the lines completed since the last call; none while there is no file.

        A file shorter than what was read has been replaced: it is read from its beginning.
        """
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._parser, self._offset = LogParser(), 0
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        return self._parser.feed(data) if data else []


Columns = dict[str, NDArray[Any]]

_ROW = re.compile(rb"] (?:" + _ITERATION + rb"|    Test" + _OUTPUT + rb")\r*\n")
_BARE = (b"Iteration ", b"    Test net output #")


def parse_columns(path: Path) -> Columns:
    """The numbers of a whole log as arrays, equal to those of `parse_events`.

    Returns:
        `train_iteration`, `train_loss` and `train_seconds` (nan where the event has None), one
        element for each TrainLoss; `rate_iteration` and `rate`, one for each LearningRate;
        `test_iteration`, `test_net`, `test_index`, `test_name` and `test_value`, one for each
        TestOutput. Iterations, nets and indices are int64, names str, the rest float64.

    Raises:
        OSError: if the file cannot be read.
    """
    log = path.read_bytes()
    for bare in _BARE:  # give an empty head to the lines without one
        if log.startswith(bare):
            log = b"] " + log
        log = log.replace(b"\n" + bare, b"\n] " + bare)
    iterations: list[int] = []
    losses: list[float] = []
    heads: list[int] = []  # where the heads of the lines of loss end
    rate_iterations: list[int] = []
    rates: list[float] = []
    tests: list[tuple[int, int, int, str, float]] = []
    test: tuple[int, int] | None = None
    for match in _ROW.finditer(log):
        number, net, rate, loss, index, name, value, weight = match.groups()
        try:
            if loss is not None:
                losses.append(float(loss))
                iterations.append(int(number))
                heads.append(match.start())
            elif rate is not None:
                rates.append(float(rate))
                rate_iterations.append(int(number))
            elif net is not None:
                test = (int(number), int(net))
            elif test is not None:
                float(weight or b"0")  # a line counts if all its numbers are
                tests.append((*test, int(index), _text(name), float(value)))
        except ValueError:  # what stands in a number's place is none
            continue
    starts = np.append(0, np.flatnonzero(np.frombuffer(log, np.uint8) == ord("\n")) + 1)
    clock = _Clock()
    clock.start(log)
    return {
        "train_iteration": np.array(iterations, dtype=np.int64),
        "train_loss": np.array(losses, dtype=np.float64),
        "train_seconds": clock.all_seconds(
            log, starts[np.searchsorted(starts, heads, side="right") - 1]
        ),
        "rate_iteration": np.array(rate_iterations, dtype=np.int64),
        "rate": np.array(rates, dtype=np.float64),
        "test_iteration": np.array([row[0] for row in tests], dtype=np.int64),
        "test_net": np.array([row[1] for row in tests], dtype=np.int64),
        "test_index": np.array([row[2] for row in tests], dtype=np.int64),
        "test_name": np.array([row[3] for row in tests], dtype=np.str_),
        "test_value": np.array([row[4] for row in tests], dtype=np.float64),
    }
