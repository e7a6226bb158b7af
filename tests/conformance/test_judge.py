"""The judge of these tests is BVLC's Caffe, not this package, and the tests are all there."""

import subprocess
import sys
from pathlib import Path

import pytest

from caffe_torch import __version__
from tests.conformance.commands import ENVIRONMENT

pytestmark = pytest.mark.conformance

ELF = b"\x7fELF"


def test_the_command_is_the_compiled_one(caffe_prefix: Path, real_caffe: Path) -> None:
    version = subprocess.run([str(real_caffe), "--version"], capture_output=True, check=True)
    assert version.stdout == b"caffe version 1.0.0\n"  # ours names itself behind that
    assert "caffe_torch" not in real_caffe.read_text()
    program = caffe_prefix / "usr" / "bin" / "caffe"
    assert program.read_bytes()[:4] == ELF
    library = next((caffe_prefix / "usr" / "lib" / "x86_64-linux-gnu").glob("libcaffe.so.1*"))
    content = library.read_bytes()
    assert content[:4] == ELF
    assert b"LayerRegistry" in content


def test_pycaffe_is_the_compiled_one(pycaffe: Path, tmp_path: Path) -> None:
    code = "import caffe._caffe as c; print(c.__file__); print(hasattr(c, '__version__'))"
    done = subprocess.run(
        [str(pycaffe), "-c", code],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    module = Path(done.stdout.splitlines()[0])
    assert module.suffix == ".so"
    assert module.read_bytes()[:4] == ELF
    assert str(module).startswith(str(pycaffe.parent.parent))


def test_the_embedded_command_says_that_it_is_embedded(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "caffe_torch", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"caffe_torch {__version__}" in done.stdout


def test_there_are_at_least_150_conformance_tests(tmp_path: Path) -> None:
    """In a process of its own: this session may have been asked for fewer."""
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-m", "conformance", str(folder)],
        cwd=folder.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    counts = [line.rpartition(": ")[2] for line in done.stdout.splitlines() if ".py: " in line]
    assert sum(int(count) for count in counts) >= 150
