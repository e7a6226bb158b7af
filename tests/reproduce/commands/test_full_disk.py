"""A whole driver on a full disk: one line, and the same command goes on when there is space."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
NO_SPACE = (
    r"metaqnn: no space left on the disk of \S+ \(\S+ MB free(; .*)?\): "
    r"free some and give the same command again; the same command goes on from here"
)


def test_a_snapshot_that_ends_halfway(small: Any, finished_record: tuple[object, ...]) -> None:
    """In the third net's first epoch: two processes check the trainer, two train each net."""
    small.script(processes={"6": {"full_at": 1}})
    said = small.search()
    assert said.code == 1
    assert re.fullmatch(NO_SPACE, said.err.rstrip("\n"))
    assert small.search().code == 0
    assert small.record() == finished_record


def test_the_trainers_check_on_a_full_disk(small: Any, finished_record: tuple[object, ...]) -> None:
    small.script(processes={"0": {"full_at": 1}})
    assert "no space left on the disk" in small.search().refusal
    assert not (small.run / "trials").exists()
    assert small.search().code == 0
    assert small.record() == finished_record


DRIVERS = """
import os, shutil, subprocess, sys
from reproduce import cli

def disk(size, *options):
    options = ",".join([f"size={size}", *options])
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", os.environ["DISK"]], check=True)

def drive(name):
    if pid := os.fork():
        print(name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        return
    output = os.open(os.path.join(os.environ["OUT"], name), os.O_CREAT | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    cli.main()

disk("2m")
drive("full")
drive("still full")
disk("16m", "remount")
with open(os.environ["FAKE_CAFFE"], "w") as script:
    script.write("{}")
drive("resumed")
shutil.copy(os.path.join(os.environ["DISK"], "replay.sqlite"), os.environ["OUT"])
"""


@pytest.fixture
def in_own_mounts() -> list[str]:
    """The words that run a command where what it mounts is seen by nobody else."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare(1), in which a small disk can be mounted")
    words = [unshare, "-rm"]
    mount = [*words, "mount", "-t", "tmpfs", "none", "/mnt"]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.decode().strip()}")
    return words


def test_a_disk_that_is_full(
    small: Any, in_own_mounts: list[str], tmp_path: Path, finished_record: tuple[object, ...]
) -> None:
    """The run's folder on a disk of its own, which a snapshot of the first net fills up."""
    small.run.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    small.script(processes={"3": {"fill_disk_at": 2}})
    done = subprocess.run(
        [*in_own_mounts, sys.executable, "-c", DRIVERS, *small.words],
        env={**os.environ, "DISK": str(small.run), "OUT": str(out)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["full 1", "still full 1", "resumed 0"], done.stderr
    assert re.fullmatch(NO_SPACE, (out / "full").read_text().splitlines()[-1])
    last = (out / "still full").read_text().splitlines()[-1]
    assert last.startswith("metaqnn: ")
    assert "full" in last or "no space" in last.lower()
    for name in ("full", "still full", "resumed"):
        assert "Traceback" not in (out / name).read_text()
    assert small.record(out) == finished_record
