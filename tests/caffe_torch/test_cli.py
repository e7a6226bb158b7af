"""The command: what it answers at once, and how it dies."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "caffe_torch", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_version_tells_it_from_real_caffe(tmp_path: Path) -> None:
    run = _run("--version", cwd=tmp_path)
    assert run.returncode == 0
    assert re.fullmatch(r"caffe version 1\.0\.0 \(caffe_torch [\d.]+, PyTorch \S+\)\n", run.stdout)


@pytest.mark.parametrize("arguments", [("--version",), ("train", "-solverr"), ("trian",)])
def test_pytorch_is_not_imported_for_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from caffe_torch import cli\n"
        "cli._abort = lambda: os._exit(9 if 'torch' in sys.modules else 0)\n"
        "cli.run(sys.argv[1:])\n"
        "os._exit(9 if 'torch' in sys.modules else 0)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "-solver", "nope.prototxt"), r"io\.cpp:39\] .*File not found: nope\.prototxt"),
        (("train", "-solver", "s.prototxt", "-gpu", "0,1"), r"--gpu 0,1: this engine runs on one"),
        (("trian",), r"caffe\.cpp:83\] Unknown action: trian"),
        (("test", "-model", "m"), r"caffe\.cpp:259\] Check failed: .*Need model weights to score"),
        (
            ("time", "-model", "m", "-phase", "x"),
            r'phase must be "TRAIN" or "TEST" \(--phase x is neither',
        ),
    ],
)
def test_a_fatal_error_is_one_line_and_sigabrt(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "s.prototxt").write_text('net: "n.prototxt"')
    run = _run(*arguments, cwd=tmp_path)
    assert run.returncode == -signal.SIGABRT
    fatal = [line for line in run.stderr.splitlines() if line.startswith("F")]
    assert len(fatal) == 1
    assert re.search(message, fatal[0])
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.glob("core*"))
