"""The whole run: data, search, final training, report; killed, resumed, with each trainer."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from prototxt_gen.read import read_net
from reproduce.results.predictions import read_predictions
from reproduce.results.top_models import top_trials
from reproduce.search.replay_memory import read_replay_memory
from tests.reproduce.whole_run import METAQNN, Run


def test_a_run_ends_in_a_table_and_a_report(fake: Run) -> None:
    output = fake.finish()
    assert "Trainer: " in output
    assert "[1/6] ε 1 [" in output
    assert "epoch 2/2: accuracy" in output
    assert "left in all" in output
    assert "first version, Table A4, row 3" in output
    run = fake.folder / "run"
    assert (run / "report" / "index.html").is_file()
    assert (run / "finals" / "mnist-v1-3" / "model.caffemodel").is_file()
    for net in run.glob("trials/*/net.prototxt"):
        text = net.read_text()
        assert str(run) not in text  # paths are relative to the run
        read_net(text)
    with sqlite3.connect(run / "replay.sqlite") as db:
        provenance = json.loads(
            db.execute("SELECT value FROM run WHERE key = 'provenance'").fetchone()[0]
        )
    assert provenance["seed"] == "5"
    assert {"git revision", "numpy", "trainer", "machine"} <= provenance.keys()


def test_the_same_command_again_trains_nothing(fake: Run) -> None:
    fake.finish()
    before = fake.trained_iterations()
    output = fake.finish()
    assert "already" in output
    assert fake.trained_iterations() == before


@pytest.mark.slow
def test_kill_9_at_any_moment_then_the_same_command_ends_as_if_never_killed(
    fake: Run, tmp_path: Path, experiment: Path, digits: Path
) -> None:
    whole = Run(tmp_path / "whole", experiment, digits, fake.env["CAFFE"])
    whole.env["FAKE_CAFFE"] = fake.env["FAKE_CAFFE"]
    started = time.monotonic()
    whole.finish()
    duration = time.monotonic() - started
    rng = np.random.default_rng(7)
    for _ in range(8):
        process = fake.start()
        time.sleep(float(rng.uniform(0.3, duration / 3)))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    fake.finish()
    assert fake.record() == whole.record()


@pytest.mark.slow
def test_a_second_driver_is_refused_and_a_seed_cannot_change_under_a_run(fake: Run) -> None:
    process = fake.start()
    lock = fake.folder / "run" / ".lock"
    for _ in range(200):
        if lock.exists() and lock.read_text():
            break
        time.sleep(0.05)
    second = subprocess.run(
        fake.command, cwd=fake.folder, env=fake.env, capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert f"is being run by process {process.pid} on " in second.stderr
    assert len(second.stderr.splitlines()) == 1
    process.communicate(timeout=120)
    fake.command[fake.command.index("5")] = "6"
    third = subprocess.run(
        fake.command, cwd=fake.folder, env=fake.env, capture_output=True, text=True, check=False
    )
    assert third.returncode == 1
    assert "holds another experiment" in third.stderr
    assert len(third.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_failed_final_training_is_said_not_recorded_and_tried_again(fake: Run) -> None:
    """A `caffe` that dies in the final trainings alone, as on a full disk."""
    fake.folder.mkdir()
    wrapper = fake.folder / "caffe"
    working, fake.env["CAFFE"] = fake.env["CAFFE"], str(wrapper)
    wrapper.write_text(
        "#!/bin/sh\n"
        'case "$*" in *finals*) echo "No space left on device" >&2; exit 1;; esac\n'
        f'exec {working} "$@"\n'
    )
    wrapper.chmod(0o755)
    process = fake.start()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "final training of mnist/v1-3 failed: crashed" in output.splitlines()[-1]
    assert "Traceback" not in output
    assert (fake.folder / "run" / "report" / "index.html").is_file()
    wrapper.write_text(f'#!/bin/sh\nexec {working} "$@"\n')
    fake.finish()
    assert set(fake.record()[-1]) == {"top/1", "top/2", "mnist/v1-3"}


def test_a_final_training_that_crashed_goes_on_from_its_newest_snapshot(
    fake: Run, experiment: Path, tmp_path: Path
) -> None:
    """An epoch has 7 iterations; it dies at the 30th, after the fourth, and again when retried."""
    script, record = Path(fake.env["FAKE_CAFFE"]), tmp_path / "record.jsonl"
    fake.command[fake.command.index("smoke")] = "top-models"
    script.write_text(json.dumps({"exit_at": [30, 1]}))
    refused(fake, [], "final training of mnist/v1-3 failed: crashed")
    memory = fake.folder / "run" / "replay.sqlite"
    with read_replay_memory(memory) as failed:
        assert failed.get("final_failures")["mnist/v1-3"].startswith("crashed: ")
        assert not failed.finals()
    script.write_text(json.dumps({"record": str(record)}))
    fake.finish()
    processes = map(json.loads, record.read_text().splitlines())
    (process,) = [one for one in processes if "train" in one["argv"]]  # the other predicts
    snapshot = "finals/mnist-v1-3/snapshot_0_iter_28.solverstate"
    assert f"--snapshot={snapshot}" in process["argv"]
    assert len(fake.record()[-1]["mnist/v1-3"]) == 20  # type: ignore[index]
    with read_replay_memory(memory) as whole:
        assert whole.get("final_failures") == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_forward_macs = 1_000_000", "max_forward_macs = 100", "excludes every net"),
        ("schedule = [[1.0, 4], [0.5, 2]]", "schedule = [[1.0, 90000]]", "of a space of"),
        ("test_images = 200", "test_images = 201", "data.test_images 201, the data has 200"),
        ("[final]", "[exploration]\nbatch = 1024\n[final]", "batch 1024 is larger than the 640"),
        ("[final]", "[exploration]\ntest_batch = 99\n[final]", "99 must divide the 200 images"),
        ("[final]", "[exploration]\nbase_lr = -0.001\n[final]", "exploration.base_lr"),
        ("[final]", "[q_learner]\nalpha = 1\n[final]", "q_learner: Extra inputs"),
        ("test_batch = 100", "test_batch = 99", "final: test_batch 99 must divide the 200 images"),
        ('id = "mnist/v1-3"', 'id = "mnist/thesis-1"', "mnist/thesis-1: C(512,3,1) does not fit"),
        ('dataset = "mnist"', 'dataset = "svhn"', "has no train_32x32.mat; put it there"),
    ],
)
def test_an_experiment_that_cannot_run_ends_in_one_line(
    fake: Run, experiment: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = experiment.read_text()
    assert old in text
    path = tmp_path / "edited.toml"
    path.write_text(text.replace(old, new, 1))
    fake.command[fake.command.index(str(experiment))] = str(path)
    refused(fake, [], words)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--run", "file", "cannot hold a run"),
        ("--gpus", "all", "GPUs are numbers such as 0,1"),
        (
            "--budget",
            "huge",
            "no budget 'huge'; there are: paper, top-models, quick, small, smoke",
        ),
    ],
)
def test_a_wrong_option_ends_in_one_line(fake: Run, option: str, value: str, words: str) -> None:
    fake.folder.mkdir()
    (fake.folder / "file").write_text("")
    refused(fake, [option, value], words)


def refused(run: Run, options: list[str], words: str) -> None:
    """The command ends with exit code 1 and one line that has the words."""
    run.folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [*run.command, *options],
        cwd=run.folder,
        env=run.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_each_gpu_is_a_slot_and_the_table_names_the_device(fake: Run, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    Path(fake.env["FAKE_CAFFE"]).write_text(json.dumps({"record": str(record), "seconds": 0.01}))
    fake.command += ["--gpus", "0,1"]
    assert "on GPU 0, 1" in fake.finish()
    gpus = [json.loads(line)["gpu"] for line in record.read_text().splitlines()]
    assert set(gpus) == {"0", "1"}
    del fake.command[-2:]  # the same run goes on, on the CPU, twice
    fake.finish()
    assert "on GPU 0, 1, then the CPU.\n" in fake.finish()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"CAFFE": "/nonexistent/caffe"}, "does not run"),
        ({"DATA_DIR": "/nonexistent"}, "nonexistent"),
    ],
)
def test_what_is_missing_is_said_in_one_line(fake: Run, env: dict[str, str], words: str) -> None:
    fake.env |= env
    refused(fake, [], words)


def test_the_table_is_printed_again_and_as_json(fake: Run) -> None:
    fake.finish()
    command = [*METAQNN, "tables", str(fake.folder / "run"), "--json"]
    done = subprocess.run(command, env=fake.env, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert rows[0]["published"] == 0.48
    ensembles = [row for row in rows if row["what"] == "MetaQNN, ensemble"]
    assert [row["status"] for row in ensembles] == ["not run"]  # of two models there is no five
    assert all(row["measured"] is None for row in ensembles)


def test_published_nets_alone_need_no_search(fake: Run) -> None:
    """`BUDGET=top-models`: the published net as it says, 20 epochs, and the table."""
    fake.command[fake.command.index("smoke")] = "top-models"
    output = fake.finish()
    assert "Search:" not in output
    trials, samples, _, _, finals = fake.record()
    assert trials == samples == []
    assert isinstance(finals, dict)
    assert list(finals) == ["mnist/v1-3"]
    assert len(finals["mnist/v1-3"]) == 20
    rows = json.loads((fake.folder / "run" / "report" / "table.json").read_text())
    assert [row["status"] == "not run" for row in rows] == [False, True, True]
    assert "without a search" in rows[0]["status"]
    command = [*METAQNN, "status", str(fake.folder / "run"), "--json"]
    done = subprocess.run(command, env=fake.env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["state"] == "complete"


def test_the_top_models_are_ensembled(fake: Run, experiment: Path, tmp_path: Path) -> None:
    """Their predictions come from `caffe test`; those that are there are not made again."""
    own = tmp_path / "mnist.toml"
    own.write_text(experiment.read_text().replace("ensembles = [5, 10]", "ensembles = [2, 5]"))
    fake.command = [str(own) if word == str(experiment) else word for word in fake.command]
    output = fake.finish()
    with read_replay_memory(fake.folder / "run" / "replay.sqlite") as memory:
        tops = memory.finals()
        evaluation = memory.get("evaluation")
        best = top_trials(memory.trials(), 2)
    assert [tops[f"top/{place}"][0] for place in (1, 2)] == [t.architecture for t in best]
    assert [one["method"] for one in evaluation["ensembles"]] == ["mean", "vote"]
    mean = evaluation["ensembles"][0]
    assert mean["members"] == ["top/1", "top/2"]
    assert mean["verdict"] in output
    folder = fake.folder / "run" / "finals"
    found = [read_predictions(folder / f"top-{place}" / "test.h5") for place in (1, 2)]
    together = (found[0].probabilities + found[1].probabilities).argmax(axis=1)
    assert mean["score"]["errors"] == (together != found[0].labels).sum()
    assert "MetaQNN, vote of 2" in output
    page = (fake.folder / "run" / "report" / "index.html").read_text()
    assert "Rolling mean and mean per ε" in page
    assert (fake.folder / "run" / "report" / "figures" / "figure-3.png").is_file()
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*/test.h5")}
    fake.finish()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/test.h5")} == written


@pytest.mark.conformance
@pytest.mark.slow
def test_real_caffe_trains_the_same_files(
    tmp_path: Path, experiment: Path, digits: Path, real_caffe: Path
) -> None:
    """The embedded and the real caffe get the same, unedited files, up to the first reward-driven
    choice; both logs go through the same parser, and the table names the trainer."""
    runs = {}
    for name, caffe in (("real", str(real_caffe)), ("embedded", None)):
        run = Run(tmp_path / name, experiment, digits, caffe)
        runs[name] = run.finish(timeout=900), run
    assert "caffe version 1.0.0 (real)" in runs["real"][0]
    assert "(embedded)" in runs["embedded"][0]
    first = [run.folder / "run" / "trials" / "0001" for _, run in runs.values()]
    for file in ("net.prototxt", "solver_0_first.prototxt", "recipe.json"):
        assert (first[0] / file).read_text() == (first[1] / file).read_text()
    for _, run in runs.values():
        trials, _, _, _, finals = run.record()
        assert {t[2] for t in trials} <= {"finished", "chance_level"}
        # The squares are easy: a trainer that works finds them.
        assert max(t[3] for t in trials) > 0.9
        assert set(finals) == {"top/1", "top/2", "mnist/v1-3"}


@pytest.mark.slow
def test_the_embedded_caffe_killed_five_times_loses_no_finished_trial(
    tmp_path: Path, experiment: Path, digits: Path
) -> None:
    run = Run(tmp_path / "embedded", experiment, digits, None)
    rng = np.random.default_rng(11)
    finished: dict[str, object] = {}
    for _ in range(5):
        process = run.start()
        time.sleep(float(rng.uniform(3, 10)))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if (run.folder / "run" / "replay.sqlite").exists():
            with read_replay_memory(run.folder / "run" / "replay.sqlite") as memory:
                now = {t.architecture: t.result for t in memory.trials() if t.result}
            assert finished.items() <= now.items()
            finished = now
    run.finish(timeout=600)
    epochs = run.trained_iterations()
    trials = {line.split()[0] for line in epochs}
    with read_replay_memory(run.folder / "run" / "replay.sqlite") as memory:
        assert len(trials) == len(memory.trials())
        assert not memory.pending()


@pytest.mark.slow
def test_an_interrupt_ends_in_one_line_and_the_same_command_goes_on(
    fake: Run, tmp_path: Path, experiment: Path, digits: Path
) -> None:
    whole = Run(tmp_path / "whole", experiment, digits, fake.env["CAFFE"])
    whole.env["FAKE_CAFFE"] = fake.env["FAKE_CAFFE"]
    whole.finish()
    for marker in ("[2/6]", "Final training of mnist"):
        process = fake.start()
        assert process.stdout is not None
        seen = ""
        while marker not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Traceback" not in rest
        assert rest.splitlines()[-1] == "metaqnn: interrupted; the same command goes on from here"
    fake.finish()
    assert fake.record() == whole.record()
