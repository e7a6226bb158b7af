"""Set-up: which PyTorch it asks for, and what it says where it cannot go on."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "setup_env.py"


@pytest.fixture
def setup_env(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("TORCH", "TORCH_INDEX"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("setup_env", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_nvidia_smi(folder: Path, output: str, code: int) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{output}'\nexit {code}\n")
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("output", "code", "cpu"),
    [("GPU 0: a card", 0, False), ("No devices were found", 6, True), (None, 0, True)],
)
def test_without_a_gpu_the_cpu_build_is_asked_for_first(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    output: str | None, code: int, cpu: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if output else str(tmp_path))
    if output:
        put_nvidia_smi(tmp_path, output, code)
    assert ("+cpu" in setup_env.torch_requirements()[0]) is cpu


def test_the_user_names_version_and_index(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/whl")
    assert not any("+cpu" in requirement for requirement in setup_env.torch_requirements())
    monkeypatch.setenv("TORCH", "torch==2.9.1")
    assert setup_env.torch_requirements() == ["torch==2.9.1"]


def test_a_pytorch_that_pip_cannot_find_ends_in_one_line(tmp_path: Path) -> None:
    """With a stand-in for the environment's Python whose pip finds nothing."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) exit 0;; esac\n'
        "echo 'ERROR: No matching distribution found' >&2\nexit 1\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        [sys.executable, SCRIPT, "--venv", tmp_path / "venv"],
        env={**os.environ, "TORCH": "torch==0.0.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "setup: pip finds no PyTorch (ERROR: No matching distribution found); "
        "name one with TORCH=... or TORCH_INDEX=..."
    ]


def test_an_environment_whose_creation_was_cut_off_is_not_taken_for_one(
    setup_env: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "python").write_text("")
    assert not setup_env.has_pip(tmp_path / "python")
    assert not setup_env.has_pip(tmp_path / "absent")
    assert setup_env.has_pip(Path(sys.executable))
