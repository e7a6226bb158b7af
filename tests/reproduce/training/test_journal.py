"""The record of a trial's processes, torn or whole."""

import os
import time
from pathlib import Path

from reproduce.training.journal import Journal


def test_failures_and_seconds(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "processes.jsonl")
    assert (journal.failures(), journal.seconds()) == (0, 0.0)
    for number, how in enumerate(("done", "crashed", "timeout", "stopped")):
        journal.begin(tmp_path / f"{number}.log")
        journal.end(how, 1.5, "why")
    assert (journal.failures(), journal.seconds()) == (2, 6.0)


def test_a_process_cut_off_with_its_driver(tmp_path: Path) -> None:
    """It is no failure; it ran until its log last changed."""
    journal = Journal(tmp_path / "processes.jsonl")
    log = tmp_path / "0.log"
    journal.begin(log)
    log.touch()
    os.utime(log, (time.time() + 5, time.time() + 5))
    assert journal.failures() == 0
    assert 4 < journal.seconds() < 6


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "processes.jsonl"
    journal = Journal(path)
    journal.begin(tmp_path / "0.log")
    journal.end("crashed", 1.0, "")
    path.write_bytes(path.read_bytes() + b'{"log": "1.lo')
    assert journal.failures() == 1
    journal.begin(tmp_path / "1.log")
    journal.end("crashed", 1.0, "")
    assert (journal.failures(), journal.seconds()) == (2, 2.0)
