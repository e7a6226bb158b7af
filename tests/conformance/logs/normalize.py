"""A log of either `caffe` without what differs between any two runs of one of them.

Masked: time, thread, C++ addresses, speeds, durations. Taken out and kept apart: the losses and
scores, which are compared as numbers, and the lines of the prefetching thread, whose place
in the log is chance.
"""

import re
from dataclasses import dataclass

NUMBER = r"-?(?:nan|inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
OURS_ONLY = ("Engine: caffe_torch",)
_PREFIX = re.compile(r"^([IWEF])\d{4} [\d:.]+ +\d+ ")
_PREFETCH = re.compile(r"(?:base_)?data_layer\.cpp:(?:73|89)\]|Waiting for data")
_STACK = re.compile(r"^(?:PC:)? *@ |^\*\*\* (?:Check failure|Aborted|SIG)")
_ADDRESSES = re.compile(r" \(0x[0-9a-f]+ vs\. 0x[0-9a-f]+\)")
_SPEED = re.compile(rf"\({NUMBER} iter/s, {NUMBER}s/")
_DURATION = re.compile(
    rf"((?:forward|backward|time|Time|Forward pass|Backward pass|Forward-Backward):) {NUMBER}( ms)"
)
# The lines that carry a loss or a score: each group is one number.
_MEASURED = [
    re.compile(rf"T\w+ net output #\d+: \S+ = ({NUMBER})(?: \(\* {NUMBER} = ({NUMBER}))?"),
    re.compile(rf"Iteration \d+ \(.*\), loss = ({NUMBER})"),
    re.compile(rf"Iteration \d+, loss = ({NUMBER})"),
    re.compile(rf"(?:Test loss|Initial loss|Loss): ({NUMBER})"),
    re.compile(rf"Batch \d+, \S+ = ({NUMBER})"),
    re.compile(rf"caffe\.cpp:\d+\] \S+ = ({NUMBER})(?: \(\* {NUMBER} = ({NUMBER}))?"),
]  # fmt: skip


@dataclass(frozen=True)
class Log:
    """What a log says.

    Attributes:
        lines: in order, masked, `N` for each measured number.
        numbers: the measured numbers, in order.
        prefetching: the different lines of the prefetching thread.
    """

    lines: list[str]
    numbers: list[float]
    prefetching: set[str]

    @property
    def fatal(self) -> str:
        """The last line of level F, `file:line] message`; empty if there is none."""
        return next((line[2:] for line in reversed(self.lines) if line.startswith("F ")), "")


def read(text: str) -> Log:
    """Normalize a log; lines that only the embedded engine writes are left out."""
    lines: list[str] = []
    numbers: list[float] = []
    prefetching: set[str] = set()
    for raw in text.splitlines():
        if _STACK.match(raw) or any(ours in raw for ours in OURS_ONLY):
            continue
        line = _PREFIX.sub(r"\1 ", raw)
        if _PREFETCH.search(line):
            prefetching.add(line)
            continue
        line = _ADDRESSES.sub("", line)
        line = _DURATION.sub(r"\1 T\2", _SPEED.sub("(SPEED/", line))
        lines.append(_take_numbers(line, numbers))
    return Log(lines, numbers, prefetching)


def _take_numbers(line: str, numbers: list[float]) -> str:
    for pattern in _MEASURED:
        found = pattern.search(line)
        if not found:
            continue
        for group in range(len(found.groups()), 0, -1):
            start, end = found.span(group)
            if start >= 0:
                line = line[:start] + "N" + line[end:]
        numbers += [float(value) for value in found.groups() if value]
    return line


def counted(lines: list[str]) -> list[str]:
    """The different lines in order of their first appearance, without the counts in them."""
    shown = [re.sub(r"(Iteration |_iter_)\d+", r"\1#", line) for line in lines]
    return list(dict.fromkeys(shown))
