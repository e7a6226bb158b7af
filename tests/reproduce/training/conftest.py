"""The scripted `caffe`, ready to use: a command, its script and the record of its processes."""

import json
import os
import sys
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

    def script(self, **keys: Any) -> None:
        self.path.write_text(json.dumps({"record": str(self.record), **keys}))

    def run(self, recipe: Recipe, **keywords: Any) -> TrialResult:
        run_folder = self.run_folder
        return run_trial(
            self.folder, run_folder, NET, recipe, self.caffe, self.events.append, **keywords
        )

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
