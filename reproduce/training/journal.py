"""Which processes a trial has run, and how they ended."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from reproduce.training.outcome import Outcome

RETRIED = (Outcome.CRASHED, Outcome.TIMEOUT)
"""What may go better the next time."""


class Journal:
    """`processes.jsonl`: a line when a process begins, a line when it ended.

    A process without a second line was cut off with its driver; it is no failure of its own,
    and its log's last change tells how long it ran.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, log: Path) -> None:
        self._append({"log": log.name, "began": time.time()})

    def end(self, how: str, seconds: float, message: str) -> None:
        log = self._entries()[-1]["log"]
        self._append({"log": log, "ended": how, "seconds": seconds, "message": message})

    def failures(self) -> int:
        """How many processes crashed or ran too long."""
        return len(self._failures())

    def last_failure(self) -> tuple[Outcome, str]:
        """How the last of them ended, and why. Raises IndexError if there is none."""
        last = self._failures()[-1]
        return Outcome(last["ended"]), last["message"]

    def seconds(self) -> float:
        """Wall time of all processes."""
        spent: dict[str, float] = {}
        for entry in self._entries():
            log = entry["log"]
            spent[log] = entry["seconds"] if "ended" in entry else self._cut_off(log, entry)
        return sum(spent.values())

    def _failures(self) -> list[dict[str, Any]]:
        return [entry for entry in self._entries() if entry.get("ended") in RETRIED]

    def _cut_off(self, log: str, entry: dict[str, Any]) -> float:
        with contextlib.suppress(OSError):
            changed = (self.path.parent / log).stat().st_mtime
            return float(max(0.0, changed - entry["began"]))
        return 0.0

    def _entries(self) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            lines = self.path.read_text().split("\n")[:-1]  # what follows the last is torn
            return [json.loads(line) for line in lines if line]
        return []

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a+b") as file:
            torn = file.tell() and not self.path.read_bytes().endswith(b"\n")
            if torn:
                whole = self.path.read_bytes().rpartition(b"\n")
                file.truncate(len(whole[0]) + len(whole[1]))
            file.write(json.dumps(entry).encode() + b"\n")
