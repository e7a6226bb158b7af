"""`metaqnn --executor ray`: what keeps it from starting, and a run on a Ray of this machine."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reproduce.experiments.load import experiment_path
from reproduce.search.replay_memory import read_replay_memory


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ray-address", "127.0.0.1:1"], "has not joined a Ray cluster at 127.0.0.1:1 ("),
        (["--gpus-per-trial", "2"], "a trial takes up to one GPU, and CPUs; not 2 and 1"),
    ],
)
def test_a_cluster_that_cannot_be_had_is_one_line(small: Any, words: list[str], said: str) -> None:
    pytest.importorskip("ray")
    assert said in small.search("--executor", "ray", *words).refusal
    assert small.trained_processes() == 0


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For Ray's own files, whose sockets need a short name."""
    folder = Path("/tmp") / f"metaqnn-test-{os.getpid()}"  # noqa: S108
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_all_that_trains_trains_on_the_cluster(
    make_small: Any,
    metaqnn: Any,
    tmp_path: Path,
    short_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check of the trainer, the nets of the search, and the best one's final training."""
    pytest.importorskip("ray")
    _, _, final = experiment_path("mnist").read_text().partition("[final]")
    final = final.partition("[[")[0].replace("epochs = 40", "epochs = 1")
    small = make_small(("[exploration]", f"[final]{final}\n[exploration]"))
    node = tmp_path / "node"
    node.mkdir()
    monkeypatch.setenv("TMPDIR", str(node))
    monkeypatch.setenv("RAY_TMPDIR", str(short_folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = metaqnn("reproduce", *small.words[1:], "--executor", "ray")
    assert said.code == 0, said
    assert "GFLOP/s a trial" in said.out
    logs = {path.name for path in (small.run / "preflight").iterdir()}
    assert logs == {"train.log", "resume.log"}
    with read_replay_memory(small.run / "replay.sqlite") as memory:
        assert {trial.place for trial in memory.trials()} == {socket.gethostname()}
        finals = list(memory.finals())
    assert finals == ["top/1", "top/2"][: len(finals)] != []
    assert (small.run / "finals" / "top-1" / "result.json").exists()
    processes = [json.loads(line) for line in small.processes.read_text().splitlines()]
    trained = [process for process in processes if process["argv"][0] == "train"]
    assert len(trained) > 2 + 3 * 2  # the check, three nets of two epochs
    assert all(Path(process["cwd"]).is_relative_to(node) for process in trained)
    told = [process["cwd"] for process in processes if process["argv"][0] == "test"]
    assert told == [str(small.run)] * len(finals)  # predictions are made here
