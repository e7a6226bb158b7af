"""Temporary names: what is replaced whole, and what killed processes leave."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.temporary import remove_leftovers, temporary_name, write_atomically


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, None)  # type: ignore[arg-type]
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_leftovers_of_this_machines_dead_processes_are_removed(tmp_path: Path, dead: int) -> None:
    """Whatever they were to become; what a living process or another machine writes stays."""
    host = socket.gethostname()
    ours = f".mnist-1@{host}.{dead}.partial"
    stay = {
        f".mnist-1@{host}.{os.getppid()}.partial",
        f".mnist-1@other.{dead}.partial",
        f".mnist-1@x.{host}.{dead}.partial",
        f".mnist-1@{host}.x.partial",
        "mnist-1",
    }
    for name in (ours, f".cifar10-2@{host}.{dead}.partial", *stay):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_bytes(b"")
    (tmp_path / f".first_seen.json@{host}.{dead}.partial").write_bytes(b"")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == stay


def test_what_bears_this_process_number_is_of_an_earlier_one(tmp_path: Path) -> None:
    """A container's first process has the same number, and perhaps name, each time."""
    temporary_name(tmp_path / "cifar10-1").mkdir()
    temporary_name(tmp_path / "file").write_bytes(b"half")
    write_atomically(tmp_path / "file", b"whole")
    assert names(tmp_path) == {"file"}
