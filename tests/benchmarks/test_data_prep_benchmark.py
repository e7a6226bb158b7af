"""The data benchmark runs at a tiny size, and what its two ways write is the same data set."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from data_prep.lmdb_writer import read_lmdb

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "data_prep.py"


def measured(*arguments: str) -> list[dict[str, Any]]:
    """The comparisons of the benchmark's JSON, for one run."""
    command = [sys.executable, str(SCRIPT), "--runs", "1", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    comparisons: list[dict[str, Any]] = json.loads(done.stdout)
    assert all(comparison["runs"] == 1 for comparison in comparisons)
    return comparisons


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The benchmark's functions."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(SCRIPT.parent)])
    yield runpy.run_path(str(SCRIPT))
    sys.modules.pop("side_by_side", None)


def test_both_ways_are_measured_for_both_types() -> None:
    found = measured("--images", "70")
    assert [c["name"].split(" → ")[0] for c in found] == [
        "70 × 3×32×32 uint8",
        "70 × 3×32×32 float32",
    ]
    for comparison in found:
        medians, details = comparison["medians"], comparison["details"]
        assert comparison["ratio_of"] == "released code's way / write_lmdb"
        assert comparison["ratio"] == pytest.approx(
            medians["released code's way"] / medians["write_lmdb"]
        )
        for variant, seconds in medians.items():
            assert details[f"images/s, {variant}"] == pytest.approx(70 / seconds)
            beyond = details[f"of it MB beyond the images, {variant}"]
            assert 0 <= beyond < details[f"peak MB, {variant}"]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_both_ways_write_the_same_records(
    script: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    """So that their seconds are those of the same work."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 3, 32, 32)).astype(dtype)
    labels = rng.integers(0, 10, 12)
    for name, write in script["WRITERS"].items():
        write(tmp_path / name, images, labels)
    released, ours = (list(read_lmdb(tmp_path / name)) for name in script["WRITERS"])
    assert len(released) == 12
    assert released == ours


def test_the_generated_mat_file_is_one_as_svhns(script: dict[str, Any], tmp_path: Path) -> None:
    """scipy reads it: X uint8 of 32×32×3×N, y of N×1 from 1 to 10."""
    script["write_mat"](tmp_path / "extra.mat", 5_003)
    content = scipy.io.loadmat(tmp_path / "extra.mat")
    assert (content["X"].shape, content["X"].dtype) == ((32, 32, 3, 5_003), np.uint8)
    assert (content["y"].shape, content["y"].dtype) == ((5_003, 1), np.float64)
    assert sorted(set(content["y"].ravel())) == list(range(1, 11))
    assert content["X"][0, 0, 0, 5_002] == 5_002 % 251


def test_svhn_is_streamed_from_its_files(tmp_path: Path) -> None:
    """The temporary folder is left empty."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "--runs", "1", "--json", "--svhn-extra"]
    done = subprocess.run(
        [*command, "--images", "60"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (only,) = json.loads(done.stdout)
    assert only["name"].startswith("60 images as SVHN's extra")
    assert only["ratio"] is None
    assert set(only["medians"]) == {"hash and unpack", "shuffle and write"}
    assert only["details"]["MB of the images"] == pytest.approx(60 * 3072 / 1e6)
    assert not list(tmp_path.iterdir())
