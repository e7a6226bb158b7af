"""The `metaqnn` command inside this process, small runs of the scripted `caffe`, and their data."""

import contextlib
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.idx import encode_idx
from reproduce import cli, estimate
from reproduce.experiments.load import experiment_path
from reproduce.search.replay_memory import read_replay_memory
from tests.reproduce.forget import forget_costs

FAKE = Path(__file__).parents[2] / "fake_caffe.py"
IMAGES = 300


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code, what it printed, and what it said on standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output of `--json`, which is JSON as RFC 8259 has it: without NaN and Infinity."""
        assert self.code in (0, 1), self
        return json.loads(self.out, parse_constant=_no_json)

    @property
    def refusal(self) -> str:
        """The one line of a command that was refused."""
        assert self.code == 1, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("metaqnn: ")
        return lines[0].removeprefix("metaqnn: ")


def metaqnn(*words: object) -> Said:
    """Run the command as a shell would; an exception that is no exit fails the test."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["metaqnn", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    if isinstance(code, str):
        err.write(f"{code}\n")
        code = 1
    assert isinstance(code, int)
    return Said(code, out.getvalue(), err.getvalue())


@pytest.fixture(name="metaqnn", scope="session")
def metaqnn_fixture() -> Callable[..., Said]:
    return metaqnn


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's four files with few images."""
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    for part, count in (("train", IMAGES), ("t10k", 100)):
        images = rng.integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(encode_idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(encode_idx(labels))
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs of these tests have their prepared data."""
    return tmp_path_factory.mktemp("data")


def small_experiment(*changes: tuple[str, str]) -> str:
    """The MNIST experiment over those few images, in a space that is soon built, without finals.

    Trains two nets at ε = 1 and one at 0.1, for two epochs each.
    """
    head, _, _ = experiment_path("mnist").read_text().partition("[final]")
    _, _, budgets = experiment_path("mnist").read_text().partition("[budget.paper]")
    text = f"{head}[exploration]\nkeep_models = 2\n[budget.paper]{budgets}"
    for old, new in (
        ("train_images = 60000", f"train_images = {IMAGES}"),
        ("test_images = 10000", "test_images = 100"),
        ("validation = 5000", "validation = 100"),
        ("train_subset = 1280", "train_subset = 128"),
        ("depth = 12", "depth = 5"),
        *changes,
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text


class Small:
    """An experiment file, and a run of it with the scripted `caffe`."""

    def __init__(self, folder: Path, data: Path, *changes: tuple[str, str]) -> None:
        self.data, self.run = data, folder / "run"
        self.file = folder / "mnist.toml"
        self.file.write_text(small_experiment(*changes))
        self.script_file = folder / "script.json"
        self.processes = folder / "processes.jsonl"
        self.script()

    def script(self, **keys: Any) -> None:
        """What the scripted `caffe` does; see there."""
        script = {"record": str(self.processes), **keys}
        self.script_file.write_text(json.dumps(script))

    @property
    def words(self) -> list[str]:
        """The words that start or resume the search."""
        folders = ["--run", self.run, "--data", self.data, "--cache", self.data / "cache"]
        return ["search", str(self.file), "--budget", "smoke", "--seed", "5", *map(str, folders)]

    def search(self, *words: object) -> Said:
        """Search, to the end or to where it is refused."""
        return metaqnn(*self.words, *words)

    def record(self, run: Path | None = None) -> tuple[object, ...]:
        """The replay memory of this run, or of another, without its times."""
        with read_replay_memory((run or self.run) / "replay.sqlite") as memory:
            trials = [
                (t.id, t.architecture, t.epsilon, t.outcome, t.reward)
                + (() if t.result is None else (t.result.accuracies, t.result.restarts))
                for t in memory.trials()
            ]
            return trials, memory.samples(), memory.q_values(), memory.get("random_state")

    def trained_processes(self) -> int:
        """How many processes of the scripted `caffe` have trained."""
        return len(self.processes.read_text().splitlines()) if self.processes.exists() else 0


@contextlib.contextmanager
def scripted(small: Small, digits: Path) -> Iterator[None]:
    """The environment of a run with the scripted `caffe`, and a quick estimate of its cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "SAMPLES", 50)
        patch.setenv("CAFFE", shlex.join([sys.executable, "-I", "-S", str(FAKE)]))
        patch.setenv("FAKE_CAFFE", str(small.script_file))
        patch.setenv("DATA_DIR", str(digits))
        for name in ("YES", "CAFFE_STOP"):
            patch.delenv(name, raising=False)
        try:
            yield
        finally:
            forget_costs()  # they are of few sampled nets


@pytest.fixture
def small(tmp_path: Path, data: Path, digits: Path) -> Iterator[Small]:
    """An experiment not yet begun."""
    small = Small(tmp_path, data)
    with scripted(small, digits):
        yield small


@pytest.fixture(scope="session")
def _searched(tmp_path_factory: pytest.TempPathFactory, data: Path, digits: Path) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    small = Small(folder, data)
    with scripted(small, digits):
        said = small.search()
    assert said.code == 0, said
    return folder


@pytest.fixture
def finished(small: Small, _searched: Path) -> Small:
    """An experiment whose search has ended."""
    shutil.copytree(_searched / "run", small.run)
    return small


@pytest.fixture(scope="session")
def _stopped(tmp_path_factory: pytest.TempPathFactory, data: Path, digits: Path) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    small = Small(folder, data)
    small.script(processes={"5": {"full_at": 2}})  # two of the check, two of the first net, …
    with scripted(small, digits):
        assert "no space left on the disk" in small.search().refusal
    return folder


@pytest.fixture
def unfinished(small: Small, _stopped: Path) -> Small:
    """An experiment whose second net's last epoch was stopped: a run that no one runs."""
    shutil.copytree(_stopped / "run", small.run)
    return small


@pytest.fixture
def make_small(tmp_path: Path, data: Path, digits: Path) -> Iterator[Callable[..., Small]]:
    """Makes experiments with changes to their file."""
    with contextlib.ExitStack() as stack:

        def make(*changes: tuple[str, str]) -> Small:
            folder = tmp_path / f"made{len(os.listdir(tmp_path))}"  # noqa: PTH208
            folder.mkdir()
            small = Small(folder, data, *changes)
            stack.enter_context(scripted(small, digits))
            return small

        yield make


@pytest.fixture
def finished_record(small: Small, _searched: Path) -> tuple[object, ...]:
    """The replay memory of a search that nothing disturbed, without its times."""
    return small.record(_searched / "run")
