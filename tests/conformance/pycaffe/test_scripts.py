"""The same script under real pycaffe and under `caffe-torch python`: what it prints is the same.

The scripts are old scripts' calls: LeNet's first lesson, what the released MetaQNN code does with
pycaffe, net surgery, classification, and a net's arrays with all that reads and writes them. What
they print are names, shapes, texts and numbers; numbers agree to 1e-4 of an array's largest.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.commands import ENVIRONMENT

SCRIPTS = Path(__file__).with_name("scripts")
NAMES = ["arrays", "classify", "lenet", "memory", "metaqnn", "python_layers", "surgery"]
TOLERANCE = 1e-4
LEAST_RESULTS = 15  # that any script prints

pytestmark = pytest.mark.conformance


@pytest.mark.parametrize("name", NAMES)
def test_script(name: str, tmp_path: Path, pycaffe: Path, write_lmdb: Callable[..., None]) -> None:
    """Every result, in order."""
    embedded = [sys.executable, "-m", "caffe_torch", "python", "--engine", "embedded"]
    results = []
    for kind, command in (("real", [str(pycaffe)]), ("embedded", embedded)):
        folder = tmp_path / kind
        folder.mkdir()
        if name in ("lenet", "metaqnn"):
            write_lmdb(folder / "train", 300, 1)
            write_lmdb(folder / "test", 200, 2)
        results.append(run([*command, str(SCRIPTS / f"{name}.py")], folder))
    real, ours = results
    assert [key for key, _ in ours] == [key for key, _ in real]
    assert len(real) >= LEAST_RESULTS
    for (key, expected), (_, found) in zip(real, ours, strict=True):
        assert_same(found, expected, f"{name}: {key}")


def run(command: list[str], folder: Path) -> list[tuple[str, Any]]:
    """What a script prints: (name, value) each."""
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Equal texts and structures; numbers within the tolerance of the largest beside them."""
    if isinstance(expected, dict) and expected.keys() == {"shape", "values"}:
        assert found["shape"] == expected["shape"], where
        scale = max(map(abs, expected["values"]), default=0.0)
        for a, b in zip(found["values"], expected["values"], strict=True):
            assert math.isclose(a, b, rel_tol=0, abs_tol=TOLERANCE * scale), where
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=1e-12), where
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(expected, str):
        assert [*map(token, found.split())] == [*map(token, expected.split())], where
    else:
        assert found == expected, where


def token(word: str) -> str:
    """A word of a prototxt; a number as six digits, since each protobuf writes floats its way."""
    try:
        return f"{float(word):.6g}"
    except ValueError:
        return word
