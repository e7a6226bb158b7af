"""glog's log on stderr: prefixes, levels, fatal errors, numbers as C++ streams print them."""

import math
import os
import sys
import threading
import time


class FatalError(Exception):
    """What Caffe's CHECK or LOG(FATAL) would have said.

    The command logs it as an `F` line and aborts; as a library, this package lets it propagate.

    Args:
        where: Caffe's source position, such as `net.cpp:759`, as the log's prefix shows it.
        message: what was wrong, where, and what to do.
        preamble: lines that go to stderr before the fatal line, without a prefix.
    """

    def __init__(self, where: str, message: str, preamble: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.where = where
        self.message = message
        self.preamble = preamble


def info(where: str, message: str) -> None:
    """Log one message at level I."""
    _write("I", where, message)


def warning(where: str, message: str) -> None:
    """Log one message at level W."""
    _write("W", where, message)


def error(where: str, message: str) -> None:
    """Log one message at level E."""
    _write("E", where, message)


def fatal(failure: FatalError) -> None:
    """Log a fatal error as glog does, without its stack trace; the caller ends the process."""
    for line in failure.preamble:
        print(line, file=sys.stderr)
    _write("F", failure.where, failure.message)
    sys.stderr.flush()


def number(value: float) -> str:
    """`std::ostream << value`: up to six significant digits.

    >>> number(0.0512446123), number(1e-9), number(128.0)
    ('0.0512446', '1e-09', '128')
    """
    if math.isnan(value):
        return "-nan" if math.copysign(1.0, value) < 0 else "nan"
    return f"{value:g}"


def _write(level: str, where: str, message: str) -> None:
    if "IWEF".index(level) < _minimum_level() and level != "F":
        return
    now = time.time()
    stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now))
    micros = int(now % 1 * 1_000_000)
    thread = threading.get_native_id()
    text = message.removesuffix("\n")  # as glog does
    line = f"{level}{stamp}.{micros:06d} {thread:5d} {where}] {text}"
    if len(line) > _LONGEST // 4:
        line = line.encode()[:_LONGEST].decode(errors="ignore")
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


_LONGEST = 29_998  # bytes: glog cuts longer messages, a large net's dump for one


def set_minimum_level(level: int) -> None:
    """Leave out messages below a level (0: all, 1: W and above, 2: E); fatal ones never."""
    os.environ["GLOG_minloglevel"] = str(max(level, 0))  # noqa: SIM112


def _minimum_level() -> int:
    level = os.environ.get("GLOG_minloglevel", "0")  # noqa: SIM112
    return int(level) if level.isdigit() else 0
