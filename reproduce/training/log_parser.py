"""Caffe's log as typed events.

Caffe logs through glog: a line is `I1124 17:48:13.476761 10291 solver.cpp:239] message`, mixed
with the net's prototxt, lines of the prefetch threads and, at the end of an unhappy run, stack
traces. Only whole lines count: what a killed process tore off is never read as a number.

Events come in the log's order. `parse_columns` gives the same numbers as arrays, faster.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
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

_NUMBER = rb"([-+.\w]+)"  # float() decides; nan, -nan and inf are numbers here
_MINUTE = re.compile(rb"[IWEF](?:\d{4})?(\d\d)(\d\d)(\d\d):(\d\d):")
_SECONDS = re.compile(rb"\d\d\.\d{6}")
_SEVERE = re.compile(rb"([EF])\d{4,8} \d\d:\d\d:\d\d\.\d+ +\d+ [^]]+\] ?(.*)", re.DOTALL)
_ITERATION = re.compile(
    rb"Iteration (\d{1,18})(?:(?: \([^])\n]*\))?, loss = "
    + _NUMBER
    + rb"|, lr = "
    + _NUMBER
    + rb"|, Testing net \(#(\d{1,9})\))"
)
_OUTPUT = re.compile(
    rb"    (Train|Test) net output #(\d{1,9}): ([^]\n]+?) = "
    + _NUMBER
    + rb"(?: \(\* "
    + _NUMBER
    + rb" = [-+.\w]+ loss\))?"
)
_SNAPSHOT = re.compile(rb"Snapshotting (solver state )?to (?:binary proto|HDF5) file (.+)")
_RESUMED = re.compile(rb"Res(?:uming|toring previous solver status) from (.+)")
_INDENT = (b" ", b"}", b"I", b"")
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
    """Seconds since the first stamp seen. glog leaves out the year; a leap year stands in."""

    def __init__(self) -> None:
        self._minutes: dict[bytes, int | None] = {}
        self._first: int | None = None

    def seconds(self, line: bytes) -> float | None:
        """Seconds from the first stamped line to this one; None for a line without a stamp."""
        fields = line[:40].split(b" ", 2)
        if len(fields) < 3:
            return None
        day, time, _ = fields
        if not _SECONDS.fullmatch(time, 6):
            return None
        key = day + time[:6]
        minute = self._minutes.get(key)
        if minute is None:
            minute = self._minutes[key] = self._start_of_minute(key)
            if minute is None:
                return None
        now = minute + int(time[6:8] + time[9:])
        if self._first is None:
            self._first = now
        passed = now - self._first
        return (passed if passed > -86400_000_000 else passed + 366 * 86400_000_000) / 1e6

    @staticmethod
    def _start_of_minute(stamp: bytes) -> int | None:
        """Microseconds into the year of a stamp without its seconds: `I1124` + `17:48:`."""
        match = _MINUTE.fullmatch(stamp)
        if match is None:
            return None
        month, day, hour, minute = map(int, match.groups())
        try:
            date = datetime.date(2000, month, day)
        except ValueError:
            return None
        return (1440 * date.timetuple().tm_yday + 60 * hour + minute) * 60_000_000


class LogParser:
    """Turns a log into events, piece by piece; how it is cut changes nothing."""

    def __init__(self) -> None:
        self._rest = b""
        self._clock = _Clock()
        self._started = False
        self._display = 0  # iteration of the last train line
        self._test: tuple[int, int] | None = None  # iteration and net of the last test
        self._handlers: dict[bytes, Callable[[bytes, bytes], Event | None]] = {
            b"Iteratio": self._iteration,
            b"    Trai": self._output,
            b"    Test": self._output,
            b"Snapshot": self._snapshot,
            b"Resuming": self._resumed,
            b"Restorin": self._resumed,
            b"Optimiza": self._ending,
        }

    def feed(self, data: bytes | str) -> list[Event]:
        """Take the log's next piece; returns the events of the lines that it completed."""
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
        if b"\n" not in data:
            self._rest += data
            return []
        whole, _, rest = data.rpartition(b"\n")
        lines = (self._rest + whole).split(b"\n")
        self._rest = rest
        return list(self._events(lines))

    def _events(self, lines: list[bytes]) -> Iterator[Event]:
        handlers = self._handlers
        for line in lines:
            if not self._started:
                self._started = self._clock.seconds(line) is not None
            message = line.rpartition(b"] ")[2]
            handler = handlers.get(message[:8])
            if handler is None and line[:1] == b"I":  # a path may hold the separator
                message = line.partition(b"] ")[2]
                handler = handlers.get(message[:8])
            try:
                if handler is not None:
                    event = handler(line, message.rstrip(b"\r"))
                elif line[:1] in _INDENT and not line.startswith(b"  what"):
                    continue  # the net's prototxt, stack traces
                else:
                    event = self._complaint(line.rstrip(b"\r"))
            except ValueError:  # what stands in a number's place is none
                continue
            if event is not None:
                yield event

    def _iteration(self, line: bytes, message: bytes) -> Event | None:
        match = _ITERATION.fullmatch(message)
        if match is None:
            return None
        iteration, loss, rate, net = match.groups()
        number = int(iteration)
        if rate is not None:
            return LearningRate(number, float(rate))
        if loss is not None:
            self._display = number
            return TrainLoss(number, float(loss), self._clock.seconds(line))
        self._test = (number, int(net))
        return TestStart(*self._test)

    def _output(self, line: bytes, message: bytes) -> Event | None:
        match = _OUTPUT.fullmatch(message)
        if match is None:
            return None
        phase, index, name, value, weight = match.groups()
        loss_weight = None if weight is None else float(weight)
        if phase == b"Train":
            return TrainOutput(self._display, int(index), _text(name), float(value), loss_weight)
        if self._test is None:
            return None
        return TestOutput(*self._test, int(index), _text(name), float(value), loss_weight)

    def _snapshot(self, line: bytes, message: bytes) -> Event | None:
        match = _SNAPSHOT.fullmatch(message)
        if match is None:
            return None
        path = _text(match[2])
        return Snapshot(_iteration_in(path), path, match[1] is not None)

    def _resumed(self, line: bytes, message: bytes) -> Event | None:
        match = _RESUMED.fullmatch(message)
        if match is None:
            return None
        path = _text(match[1])
        return Resumed(_iteration_in(path), path)

    def _ending(self, line: bytes, message: bytes) -> Event | None:
        if message == b"Optimization Done.":
            return Finished()
        return StoppedEarly() if message == b"Optimization stopped early." else None

    def _complaint(self, line: bytes) -> Event | None:
        if line[:1] in (b"E", b"F") and (match := _SEVERE.fullmatch(line)):
            return (Fatal if match[1] == b"F" else Error)(_text(match[2].strip()))
        if line.startswith(b"*** SIG") and (match := _SIGNAL.match(line)):
            return Signal(_text(match[1]), _text(line.strip(b"* ")))
        if match := _COMPLAINT.fullmatch(line):
            return Error(_text(match[1] or match[2]).strip())
        return None


def parse_events(path: Path) -> list[Event]:
    """All events of a log file. Raises OSError if it cannot be read."""
    return LogParser().feed(path.read_bytes())


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

_LOSS_LINE = re.compile(rb"] Iteration (\d{1,18})(?: \([^])\n]*\))?, loss = " + _NUMBER + rb"\r*\n")
_RATE_LINE = re.compile(rb"] Iteration (\d{1,18}), lr = " + _NUMBER + rb"\r*\n")
_TEST_LINE = re.compile(
    rb"] (?:Iteration (\d{1,18}), Testing net \(#(\d{1,9})\)"
    rb"|    Test net output #(\d{1,9}): ([^]\n]+?) = "
    + _NUMBER
    + rb"(?: \(\* "
    + _NUMBER
    + rb" = [-+.\w]+ loss\))?)\r*\n"
)


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
    data = path.read_bytes()
    clock = _Clock()
    _set_off(clock, data)
    iterations: list[int] = []
    losses: list[float] = []
    seconds: list[float | None] = []
    for match in _LOSS_LINE.finditer(data):
        iteration, number = match.groups()
        if (value := _float(number)) is not None:
            start = data.rfind(b"\n", 0, match.start()) + 1
            iterations.append(int(iteration))
            losses.append(value)
            seconds.append(clock.seconds(data[start : match.start()]))
    rate_iterations: list[int] = []
    rates: list[float] = []
    for iteration, number in _RATE_LINE.findall(data):
        if (value := _float(number)) is not None:
            rate_iterations.append(int(iteration))
            rates.append(value)
    tests: list[tuple[int, int, int, str, float]] = []
    began: tuple[int, int] | None = None
    for iteration, net, index, name, number, weight in _TEST_LINE.findall(data):
        if iteration:
            began = (int(iteration), int(net))
        elif began is None or (weight and _float(weight) is None):
            continue
        elif (value := _float(number)) is not None:
            tests.append((*began, int(index), _text(name), value))
    return {
        "train_iteration": np.array(iterations, dtype=np.int64),
        "train_loss": np.array(losses, dtype=np.float64),
        "train_seconds": np.array(seconds, dtype=np.float64),
        "rate_iteration": np.array(rate_iterations, dtype=np.int64),
        "rate": np.array(rates, dtype=np.float64),
        "test_iteration": np.array([row[0] for row in tests], dtype=np.int64),
        "test_net": np.array([row[1] for row in tests], dtype=np.int64),
        "test_index": np.array([row[2] for row in tests], dtype=np.int64),
        "test_name": np.array([row[3] for row in tests], dtype=np.str_),
        "test_value": np.array([row[4] for row in tests], dtype=np.float64),
    }


def _set_off(clock: _Clock, data: bytes) -> None:
    """Let the clock see the first stamped line."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        if clock.seconds(data[start : min(start + 40, end)]) is not None:
            return
        start = end + 1


def _float(number: bytes) -> float | None:
    try:
        return float(number)
    except ValueError:
        return None
