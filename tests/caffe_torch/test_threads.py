"""CAFFE_TORCH_THREADS: how many threads compute."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NET = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "y" type: "Power" bottom: "x" top: "y" }
"""


def _time(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "net.prototxt").write_text(NET)
    return subprocess.run(
        [sys.executable, "-m", "caffe_torch", "time", "-model=net.prototxt", "-iterations=1"],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_variable_sets_the_threads_over_those_of_openmp(tmp_path: Path) -> None:
    done = _time(tmp_path, OMP_NUM_THREADS="1", CAFFE_TORCH_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert "device cpu, 2 thread(s)" in done.stderr


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", "²"])
def test_another_value_is_one_fatal_line(threads: str, tmp_path: Path) -> None:
    done = _time(tmp_path, CAFFE_TORCH_THREADS=threads)
    assert done.returncode == -6
    fatal = [line for line in done.stderr.splitlines() if line.startswith("F")]
    assert len(fatal) == 1
    assert f"CAFFE_TORCH_THREADS={threads}: give a number of threads" in fatal[0]
    assert "Traceback" not in done.stderr
