"""`metaqnn report`: the page of a finished, a dead and a running run; what is not touched."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reproduce.audit.claims import all_claims
from reproduce.commands import published, running
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.options import Options
from reproduce.results.page.commands import commands
from reproduce.results.report import _write
from reproduce.run import freeze
from reproduce.search.replay_memory import ReplayMemory

REPOSITORY = Path(__file__).parents[3]


def contents(run: Path) -> dict[str, str]:
    """The hash of each file of a run, but for its report."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file() and "report" not in path.relative_to(run).parts[:1]
    }


def test_it_prints_where_the_page_is_and_leaves_the_run_as_it_was(
    metaqnn: Any, unfinished: Any
) -> None:
    """Of a run that is not finished, whose second net is in training."""
    before = contents(unfinished.run)
    said = metaqnn("report", unfinished.run)
    assert (said.code, said.err) == (0, "")
    page = unfinished.run / "report" / "index.html"
    assert said.out == f"{page}\n"
    assert contents(unfinished.run) == before
    text = page.read_text()
    assert "1 of 3, 1 in training" in text
    assert 'class="word stopped"' in text
    assert "refresh=" not in text
    assert (page.parent / "table.csv").is_file()


def test_it_may_lie_elsewhere_and_still_links_to_the_run(
    metaqnn: Any, finished: Any, tmp_path: Path
) -> None:
    out = tmp_path / "far" / "away"
    said = metaqnn("report", finished.run, "--out", out, "--watts", "250")
    assert said.out == f"{out / 'index.html'}\n"
    assert not (finished.run / "report").exists()
    text = (out / "index.html").read_text()
    links = [link for link in re.findall(r'href="([^"#]+)"', text) if "prototxt" in link]
    assert len(links) == 6
    assert all((out / unescape(link)).is_file() for link in links)
    assert "with 250 W for each CPU" in text


def test_the_page_has_the_audit_and_says_what_would_add_to_it(metaqnn: Any, finished: Any) -> None:
    metaqnn("report", finished.run)
    text = (finished.run / "report" / "index.html").read_text()
    assert all(f'id="claim-{claim.id}"' in text for claim in all_claims())
    (line,) = re.findall(r"<code>([^<]*--authors-data[^<]*)</code>", text)
    assert shlex.split(line)[1:] == ["report", str(finished.run), "--authors-data", "DIR"]


def test_the_authors_data_may_be_no_file(metaqnn: Any, finished: Any) -> None:
    file = finished.run / "experiment.toml"
    for words in ((), ("--watch",)):
        said = metaqnn("report", finished.run, "--authors-data", file, *words)
        assert said.refusal == f"--authors-data {file}: it is no folder"
    assert not (finished.run / "report").exists()


def test_what_is_no_run_is_told_in_one_line(metaqnn: Any, small: Any, tmp_path: Path) -> None:
    assert metaqnn("report", tmp_path / "none").refusal == (
        f"{tmp_path / 'none'} holds no run: experiment.toml is missing"
    )
    freeze(load_experiment(small.file, "smoke", 5), small.run)
    for words in ((), ("--watch",)):
        assert "replay.sqlite" in metaqnn("report", small.run, *words).refusal
    assert not (small.run / "report").exists()


def test_a_folder_that_cannot_be_written_is_told_in_one_line(metaqnn: Any, finished: Any) -> None:
    (finished.run / "report").write_text("a file")
    assert metaqnn("report", finished.run).refusal == (
        f"{finished.run / 'report'} cannot hold the report: File exists; "
        "name another folder with --out"
    )


def test_watching_a_run_that_is_not_running_writes_it_once(metaqnn: Any, finished: Any) -> None:
    said = metaqnn("report", finished.run, "--watch")
    assert said.code == 0
    assert said.out == f"{finished.run / 'report' / 'index.html'}\n"
    assert said.err == f"{finished.run} is not running: its report was written once\n"


# Watching


@pytest.fixture
def driven(unfinished: Any) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the run's lock, as a driver has, until its input ends."""
    code = (
        "import sys; from pathlib import Path; from reproduce.run import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(unfinished.run)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.fixture
def watching(unfinished: Any) -> Iterator[subprocess.Popen[str]]:
    """`metaqnn report --watch` on that run."""
    words = ["report", str(unfinished.run), "--watch", "--every", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "reproduce.cli", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def wait_for(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_watching_follows_a_run_to_its_end(
    unfinished: Any, driven: subprocess.Popen[str], watching: subprocess.Popen[str]
) -> None:
    page = unfinished.run / "report" / "index.html"
    assert watching.stdout is not None
    assert watching.stdout.readline() == f"{page}\n"
    text = page.read_text()
    assert 'data-refresh="1"' in text
    assert f"by process {driven.pid} on" in text
    memory = ReplayMemory(unfinished.run / "replay.sqlite")  # the driver's: it stays open
    memory.add_sample("[C(64,1,1), C(64,3,1), SM(10)]", 1.0, {})
    wait_for(lambda: "[C(64,1,1), C(64,3,1), SM(10)]" in page.read_text())
    assert driven.stdin is not None
    driven.stdin.close()
    out, err = watching.communicate(timeout=300)
    memory.close()
    assert (watching.returncode, out, err) == (0, "", "")
    assert "data-refresh=" not in page.read_text()
    assert not list(page.parent.rglob(".*"))  # nothing half written


@pytest.mark.slow
def test_watching_ends_with_control_c(
    unfinished: Any, driven: subprocess.Popen[str], watching: subprocess.Popen[str]
) -> None:
    assert watching.stdout is not None
    page = Path(watching.stdout.readline().strip())
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=300)
    assert (watching.returncode, err) == (0, "")
    text = page.read_text()
    assert "data-refresh=" not in text
    assert 'class="word running"' in text  # the run goes on
    assert driven.poll() is None


def _write_often(path: Path, letter: str) -> None:
    for _ in range(30):
        _write(path, letter * 100_000)


def test_two_processes_may_write_one_report(tmp_path: Path) -> None:
    """A driver at its end and a command that watches it: each file is one's or the other's."""
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "index.html"
    writers = [context.Process(target=_write_often, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert list(tmp_path.iterdir()) == [path]


# The commands in the page


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["reproduce", "mnist"], {}),
        (["search", "mnist", "--preset", "authors", "--seed", "7"], {"cpu_slots": 2, "threads": 1}),
        (["reproduce", "cifar10", "--budget", "paper"], {"gpus": (0, 1), "slots_per_gpu": 3}),
        (
            ["reproduce", "svhn"],
            {"executor": "ray", "ray_address": "auto", "gpus_per_trial": 0.5, "cpus_per_trial": 2},
        ),
        (["train-published", "mnist/v1-3"], {"gpus": (1,)}),
        (["train-published", "cifar10/v1-1", "--epochs", "2"], {}),
    ],
)
def test_the_command_that_made_a_run_makes_the_same_run(
    metaqnn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str],
    options: dict[str, Any],
) -> None:  # fmt: skip
    """Given to the command line again, it starts that experiment there with those choices."""
    monkeypatch.delenv("YES", raising=False)
    started: list[tuple[Experiment, Path | None, Options]] = []
    for module in (running, published):
        monkeypatch.setattr(module, "start_run", lambda *all_: started.append(all_))
    run = tmp_path / "a run"
    flags = []
    for key, value in options.items():
        text = ",".join(map(str, value)) if key == "gpus" else str(value)
        flags += [f"--{key.replace('_', '-')}", text]
    folders = ["--run", run, "--data", tmp_path / "data"]
    assert metaqnn(*words, *flags, *folders).code == 0
    experiment, _, chosen = started[0]
    run.mkdir()
    memory = ReplayMemory(run / "replay.sqlite")
    memory.put(options=chosen.to_json())
    what, line = commands(experiment, memory, run)[0]
    assert what.startswith("Made this run")
    program, *again = shlex.split(line)
    assert program.endswith("metaqnn")
    assert metaqnn(*again).code == 0
    assert started[1] == (experiment, run, chosen)


def test_a_command_that_would_make_another_run_is_not_given(tmp_path: Path) -> None:
    """An experiment of the user's own file has the name of one that comes with the package."""
    experiment = load_experiment(experiment_path("mnist"), "quick", 5)
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    memory.put(options=Options(tmp_path, tmp_path).to_json())
    assert "reproduce mnist" in commands(experiment, memory, tmp_path)[0][1]
    other = experiment.model_copy(update={"title": "Mine"})
    lines = [line for _, line in commands(other, memory, tmp_path)]
    assert not any(" reproduce " in line for line in lines)
    assert any(" resume " in line for line in lines)
