"""The one line that says which data is missing, before anything is set up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.cifar import FACTS
from data_prep.downloads import FilePin
from data_prep.svhn import EXTRA, TEST, TRAIN

SCRIPT = Path(__file__).parents[2] / "tools" / "need_data.py"
PINS = {"cifar10": [FACTS["cifar10"].versions[0].archive], "svhn": [TRAIN, TEST, EXTRA]}


def ask(cwd: Path, dataset: str, data_dir: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "DATA_DIR"}
    if data_dir is not None:
        environment["DATA_DIR"] = str(data_dir)
    command = [sys.executable, "-I", "-S", str(SCRIPT), dataset, "reproduce-it"]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def described(pin: FilePin) -> str:
    return f"{pin.name} ({pin.size:,} bytes, SHA-256 {pin.sha256})"


@pytest.mark.parametrize("dataset", PINS)
def test_each_missing_file_is_named_with_size_and_hash(dataset: str, tmp_path: Path) -> None:
    done = ask(tmp_path, dataset, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert all(described(pin) in line for pin in PINS[dataset])
    assert all(mirror in line for pin in PINS[dataset] for mirror in pin.mirrors[:1])
    assert line.endswith(f"into {tmp_path}, then `make reproduce-it`")


def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / TRAIN.name).touch()
    line = ask(tmp_path, "svhn", tmp_path).stderr
    assert TRAIN.name not in line
    assert TEST.name in line


@pytest.mark.parametrize(
    "name", ["cifar-10-binary.tar.gz", "test_batch.bin", "cifar-10-batches-py"]
)
def test_files_that_are_there_are_enough(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert ask(tmp_path, "cifar10", tmp_path).returncode == 0
    (tmp_path / ".cache" / "data").mkdir(parents=True)
    (tmp_path / ".cache" / "data" / "cifar-10-binary.tar.gz").touch()
    assert ask(tmp_path, "cifar10", None).returncode == 0


def test_prepared_data_needs_no_files(tmp_path: Path) -> None:
    (tmp_path / "data" / "svhn-12345678").mkdir(parents=True)
    (tmp_path / "data" / "svhn-12345678" / "manifest.json").touch()
    assert ask(tmp_path, "svhn", None).returncode == 0
