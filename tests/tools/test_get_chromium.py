"""tools/get_chromium.sh with stand-ins for apt-get: no network, no packages."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "get_chromium.sh"
NEEDED = ("bash", "mktemp", "rm", "tail", "id", "chmod")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the script needs bash")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH with what the script calls and no browser."""
    for name in NEEDED:
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def program(machine: Path, name: str, text: str) -> None:
    (machine / name).unlink(missing_ok=True)  # never through a link
    (machine / name).write_text(f"#!/bin/sh\n{text}\n")
    (machine / name).chmod(0o755)


def run(machine: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": str(machine), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}  # noqa: S108
    return subprocess.run(
        ["/bin/bash", str(SCRIPT)],
        env=base | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["chromium", "google-chrome", "mine"])
def test_nothing_is_done_where_there_is_one(machine: Path, name: str) -> None:
    program(machine, name, "")
    program(machine, "apt-get", "touch $0.was-called")
    done = run(machine, CHROMIUM=str(machine / "mine") if name == "mine" else "")
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(machine.glob("*.was-called"))


def test_root_installs_debians(machine: Path) -> None:
    program(machine, "id", "echo 0")
    browser = machine / "chromium"
    program(
        machine,
        "apt-get",
        f'case "$*" in *" install "*" chromium") : >"{browser}"; chmod 755 "{browser}";; esac',
    )
    done = run(machine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"get_chromium: there is {browser}"


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({}, "no apt-get here"),
        ({"apt-get": "", "id": "echo 1000"}, "root is needed"),
        ({"apt-get": "echo E: no network >&2; exit 100", "id": "echo 0"}, "E: no network"),
        ({"apt-get": "", "id": "echo 0"}, "there is no such command"),
    ],
)
def test_where_it_cannot_be_had_one_line_says_why(
    machine: Path, programs: dict[str, str], said: str
) -> None:
    for name, text in programs.items():
        program(machine, name, text)
    done = run(machine)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
