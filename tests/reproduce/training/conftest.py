"""The scripted `caffe`, ready to use: a command, its script and the record of its processes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from reproduce.training.caffe import Caffe, find_caffe
from reproduce.training.outcome import TrialResult
from reproduce.training.recipe import Recipe
from reproduce.training.trial import TrialEvent, run_trial

FAKE = Path(__file__).parents[2] / "fake_caffe.py"
NET = 'name: "net of the tests"\n'


class Fake:
    """A run folder in which the scripted `caffe` trains."""

    def __init__(self, folder: Path) -> None:
        self.run_folder = folder / "run"
        self.run_folder.mkdir()
        self.folder = self.run_folder / "trials" / "a"
        self.record = folder / "record.jsonl"
        self.path = folder / "script.json"
        self.script()
        words = f"{sys.executable} -I -S {FAKE}"
        self.caffe: Caffe = find_caffe({**os.environ, "CAFFE": words})
        self.events: list[TrialEvent] = []
        self.on_event: Callable[[TrialEvent], None] = lambda event: None

    def script(self, **keys: Any) -> None:
        self.path.write_text(json.dumps({"record": str(self.record), **keys}))

    def run(self, recipe: Recipe, **keywords: Any) -> TrialResult:
        def note(event: TrialEvent) -> None:
            self.events.append(event)
            self.on_event(event)

        return run_trial(self.folder, self.run_folder, NET, recipe, self.caffe, note, **keywords)

    def processes(self) -> list[dict[str, Any]]:
        """What each process of the scripted `caffe` recorded, in their order."""
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def alive(self) -> list[int]:
        """Processes of this run, helpers included, that still run."""
        return [p.pid for p in psutil.process_iter() if _runs_for(p, str(self.path))]

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


def _runs_for(process: psutil.Process, script: str) -> bool:
    try:
        return (
            process.pid != os.getpid()
            and process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get("FAKE_CAFFE") == script
        )
    except (psutil.Error, OSError):
        return False


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(tmp_path)
    monkeypatch.setenv("FAKE_CAFFE", str(fake.path))
    return fake


DRIVER = """
import json, os, sys
from pathlib import Path
from reproduce.training.caffe import find_caffe
from reproduce.training.recipe import Recipe
from reproduce.training.trial import run_trial

run, net, recipe = Path(os.environ["DISK"]), os.environ["NET"], json.loads(os.environ["RECIPE"])
print(run_trial(run / "a", run, net, Recipe(**recipe), find_caffe(os.environ)).to_json())
"""


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Callable[..., list[TrialResult]]:
    """Run a script in whose shell `disk 1m` mounts or resizes the run's disk, which nobody else
    sees, and `drive` runs a trial on it; returns the results of the trials.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare(1), in which a small disk can be mounted")
    shell = [unshare, "-rm", "sh", "-ec"]
    done = subprocess.run([*shell, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.decode().strip()}")
    folder = tmp_path / "small disk"
    folder.mkdir()
    functions = """
        disk() { mount -t tmpfs -o "${again}size=$1" none "$DISK"; again=remount,; }
        drive() { "$PYTHON" -c "$DRIVER"; }
    """

    def run(script: str, net: str, recipe: Recipe, **env: str) -> list[TrialResult]:
        done = subprocess.run(
            [*shell, functions + script],
            env={
                **os.environ,
                "DISK": str(folder),
                "PYTHON": sys.executable,
                "DRIVER": DRIVER,
                "NET": net,
                "RECIPE": json.dumps(asdict(recipe)),
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [TrialResult.from_json(line) for line in done.stdout.splitlines()]

    return run
