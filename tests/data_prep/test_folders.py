"""Folders appear whole or not at all, whenever the process that makes them is killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.folders import finished, publish
from data_prep.manifest import FILE_NAME, Manifest
from data_prep.temporary import temporary_name

# Prepares again and again, each time in a process that is killed one step later: before it makes,
# opens, renames or removes its n-th file or folder. Prints what was left behind each time.
KILLED_AT_EVERY_STEP = """
import json, os, signal, sys
from pathlib import Path
from data_prep.datasets import DataSet
from data_prep.examples import Examples
from data_prep.images import ArrayImages
from data_prep.manifest import SourceFile
from data_prep.prepare import prepare
from data_prep.recipes import Recipe
from data_prep.show import prepared_folders
import numpy as np

root = sys.argv[1]
images, labels = ArrayImages(np.zeros((20, 1, 4, 4), np.uint8)), np.arange(20) % 2
examples = Examples(images, labels, images, labels, None, 2)
source = SourceFile("file", "0" * 64, "verified", "here")
data = DataSet("set", ("0" * 64,), lambda: [source], lambda _: examples)
RECIPE = Recipe(validation=2, hdf5=True, parts=("train",))
OTHER = Recipe(validation=2, parts=("test",))
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def names(out):
    return sorted(path.name for path in out.iterdir()) if out.exists() else []

def prepare_until(step, out):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        if event in STEPS and any(str(argument).startswith(root) for argument in arguments):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    prepare(data, RECIPE, out)

status, step = None, 0
while status != 0:
    step += 1
    out = Path(root, str(step))
    if not (child := os.fork()):
        prepare_until(step, out)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    left, shown = names(out), [path.name for path in prepared_folders(out)]
    whole = len(list(out.glob(".*/manifest.json")))  # but not yet renamed
    other = prepare(data, OTHER, out).folder
    after = [name for name in names(out) if name != other]
    print(json.dumps([status, left, whole, shown, after]))
"""


def test_at_whatever_step_it_is_killed_nothing_looks_finished(tmp_path: Path) -> None:
    script = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *killed, (status, (folder,), _, shown, _) = map(json.loads, done.stdout.splitlines())
    assert (status, shown) == (0, [folder])
    assert {status for status, *_ in killed} == {signal.SIGKILL}
    for _, left, _, shown, after in killed:
        assert shown == after == [name for name in left if name == folder]
    assert any(whole for _, _, whole, _, _ in killed)
    assert sum(any(name.startswith(f".{folder}") for name in left) for _, left, *_ in killed) > 5


def test_an_earlier_process_of_the_same_number_is_in_nobodys_way(tmp_path: Path) -> None:
    """As in a container, whose first process has the same number each time."""
    temporary_name(tmp_path / "set").mkdir()
    (temporary_name(tmp_path / "set") / "half").write_bytes(b"content")

    def fill(folder: Path) -> Manifest:
        assert list(folder.iterdir()) == []
        raise DataError("stop")

    with pytest.raises(DataError, match="stop"):
        publish(tmp_path, "set", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_this_run_did_not_make_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_prep.folders.remove_leftovers", lambda _: None)
    other = temporary_name(tmp_path / "set")
    other.mkdir()
    with pytest.raises(DataError, match=r"cannot be written \(File exists\)"):
        publish(tmp_path, "set", lambda _: pytest.fail("nothing to fill"))
    assert other.is_dir()


def test_what_cannot_be_looked_up_or_written_names_the_folder(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    with pytest.raises(DataError, match=r"x: cannot be written \(File name too long\); choose"):
        finished(long, "set")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file: cannot be written .*; choose another folder"):
        publish(tmp_path / "file", "set", lambda _: pytest.fail("nothing to fill"))
    assert (tmp_path / "file").read_bytes() == b""
    assert not (tmp_path / FILE_NAME).exists()
