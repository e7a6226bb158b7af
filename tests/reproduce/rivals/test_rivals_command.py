"""`metaqnn rivals`: what it asks for, and what it says of what is missing."""

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from reproduce import cli
from reproduce.rivals.plan import PLANS, units
from reproduce.rivals.study import STUDY_FILE


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[object, str]:
    """The exit code, or the line that it ended with, and standard output."""
    monkeypatch.setattr(sys, "argv", ["metaqnn", "rivals", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr().out


def test_an_unknown_plan_is_named_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said, _ = run(monkeypatch, capsys, "--authors-data", tmp_path, "--plan", "long")
    assert said == "metaqnn: --plan long: a plan is one of quick, full"


def test_missing_packages_are_named_with_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = importlib.util.find_spec

    def without_optuna(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "optuna" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_optuna)
    said, _ = run(monkeypatch, capsys, "--authors-data", tmp_path)
    assert said == (
        "metaqnn: rivals needs optuna: `make rivals` installs what is missing, or "
        ".venv/bin/pip install optuna"
    )


def test_a_folder_of_another_study_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    slice_folder: Path,
) -> None:
    (tmp_path / STUDY_FILE).write_text('{"plan": {"name": "other"}}')
    said, out = run(
        monkeypatch, capsys, "--authors-data", slice_folder, "--run", tmp_path, "--workers", 2
    )
    assert said == f"metaqnn: {tmp_path} holds a study of other plan; name another folder"
    assert f"{len(units(PLANS['quick']))} parts, roughly" in out
    assert (tmp_path / STUDY_FILE).read_text() == '{"plan": {"name": "other"}}'


def test_other_commands_load_neither_scikit_learn_nor_optuna() -> None:
    program = (
        "import sys; import reproduce.cli; "
        "print([x for x in ('sklearn', 'optuna') if x in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
