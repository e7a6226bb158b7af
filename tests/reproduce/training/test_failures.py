"""Every failure that the scripted `caffe` knows ends in its named outcome: the whole table."""

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reproduce.training import disk, process
from reproduce.training.outcome import Outcome
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import Snapshots
from reproduce.training.trial import run_trial
from reproduce.training.trial_events import Retried

LOGS = Path(__file__).parent / "logs"
FAKE = Path(__file__).parents[2] / "fake_caffe.py"
RECIPE = Recipe(
    epochs=4,
    iterations_per_epoch=10,
    test_iter=2,
    base_lr=0.001,
    chance_accuracy=0.1,
    display=5,
    random_seed=7,
)
CUDA = "Check failed: error == cudaSuccess "
SHORT = {"timeout_s": 1.5}
DEADLY = ["SEGV", "KILL", "ABRT", "BUS", "FPE", "ILL", "TERM", "HUP", "INT", "PIPE", "XCPU", "XFSZ"]


@dataclass(frozen=True)
class Row:
    """What the fake does, and what becomes of the trial.

    `processes` and `epochs` count the trial's; a crash of process 1 (of 0, 1, …) that is retried
    once makes three. `goes_on` is the iteration from which the retry resumes; None: not retried.
    """

    script: dict[str, Any]
    outcome: Outcome
    message: str
    processes: int = 3
    epochs: int = 1
    goes_on: int | None = 10
    recipe: dict[str, Any] = field(default_factory=dict)


def crash(script: dict[str, Any], message: str, **keywords: Any) -> Row:
    return Row(script, Outcome.CRASHED, message, **keywords)


def final(script: dict[str, Any], outcome: Outcome, message: str, **keywords: Any) -> Row:
    return Row(script, outcome, message, goes_on=None, **keywords)


TABLE = {
    # A process dies, at first in the second epoch
    **{
        f"dies by SIG{name}": crash(
            {"signal_at": [16, signal.Signals[f"SIG{name}"]]},
            f"ended by SIG{name} after iteration 15",
        )
        for name in DEADLY
    },
    "exits 0 early": crash({"exit_at": [16, 0]}, "exit code 0 after iteration 15"),
    "exits 1 early": crash({"exit_at": [16, 1]}, "exit code 1 after iteration 15"),
    "a line of severity F": crash({"fatal_at": [16, "Check failed: x == y (1 vs. 2) "]}, "x == y"),
    "an exception": crash({"print_at": [16, "ValueError: so it is", 1]}, "ValueError: so it is"),
    "another CUDA error": crash({"fatal_at": [16, CUDA + "(10 vs. 0)  invalid device"]}, "(10 vs"),
    "a torn line": crash({"torn_line_at": 15}, "ended by SIGKILL"),
    "a torn test": crash({"torn_test_at": 20}, "ended by SIGKILL", goes_on=20),
    "a torn model": crash({"torn_model_at": 20}, "ended by SIGKILL"),
    "a torn solver state": crash({"torn_state_at": 20}, "ended by SIGKILL"),
    "a folder that cannot be written": crash({"unwritable_at": 20}, "SerializeToOstream"),
    "no accuracy": crash(
        {"no_accuracy": True}, "before the last test", processes=2, epochs=0, goes_on=10
    ),
    "never begins": crash(
        {"fatal_at": [-1, "Cannot use GPU in CPU-only Caffe"]},
        "Cannot use GPU",
        processes=2,
        epochs=0,
        goes_on=None,
    ),
    # What real Caffe printed before it died
    **{
        f"real Caffe: {name}": crash(
            {"log": [str(LOGS / f"train_{name}.log"), end]},
            message,
            processes=2,
            epochs=0,
            goes_on=None,
        )
        for name, end, message in (
            ("missing_lmdb", -signal.SIGABRT, "No such file or directory"),
            ("bad_field", -signal.SIGABRT, "has no field named"),
            ("bad_flag", 1, "unknown command line flag"),
            ("sigterm", -signal.SIGTERM, "SIGTERM"),
            ("unwritable_snapshot", -signal.SIGABRT, "SerializeToOstream"),
        )
    },
    # Never retried
    "a full disk": final({"full_at": 20}, Outcome.STOPPED, "no space left", processes=2),
    "nan in the second epoch": final(
        {"nan_at": 15}, Outcome.DIVERGED, "training loss nan at iteration 15", processes=2
    ),
    "nan in the second test alone": final(
        {"nan_at": 20, "no_display": True}, Outcome.DIVERGED, "test loss nan", processes=2
    ),
    "nan at every rate": final(
        {"nan_above": 0}, Outcome.CHANCE_LEVEL, "training loss nan", processes=6, epochs=0
    ),
    "chance at every rate": final(
        {"chance_above": 0}, Outcome.CHANCE_LEVEL, "no better than 0.1", processes=6
    ),
    **{
        f"out of memory: {name}": final(
            script, Outcome.OUT_OF_MEMORY, message, processes=1, epochs=0
        )
        for name, script, message in (
            ("CUDA", {"fatal_at": [5, CUDA + "(2 vs. 0)  out of memory"]}, "out of memory"),
            ("CUDA, at the start", {"fatal_at": [-1, CUDA + "(2 vs. 0)"]}, "(2 vs. 0)"),
            ("torch", {"print_at": [5, "torch.OutOfMemoryError: CUDA", 1]}, "OutOfMemoryError"),
            ("Python", {"print_at": [5, "MemoryError", 1]}, "MemoryError"),
            ("C++", {"print_at": [5, "  what():  std::bad_alloc", 134]}, "bad_alloc"),
        )
    },
    # Time
    "hangs": Row({"hang_at": 15}, Outcome.TIMEOUT, "no end within 1.5 s", goes_on=15, recipe=SHORT),
    "hangs and ignores SIGINT": Row(
        {"hang_at": 15, "ignore_sigint": True, "child": True, "daemon": True},
        Outcome.TIMEOUT,
        "no end within 1.5 s",
        recipe=SHORT,
    ),
    "is stopped by SIGSTOP": Row(
        {"signal_at": [16, signal.SIGSTOP]}, Outcome.TIMEOUT, "no end within 1.5 s", recipe=SHORT
    ),
    "hangs at the start": final(
        {"start_seconds": 60},
        Outcome.TIMEOUT,
        "after iteration 0",
        processes=2,
        epochs=0,
        recipe=SHORT,
    ),
}

HARMLESS = {
    "another exit code": {"exit_after": 11},
    "no line of loss": {"no_display": True},
    "helpers that stay": {"child": True, "daemon": True},
    "accuracies of its own": {"accuracies": [0.5, 0.6, 0.7, 0.65]},
    "slow": {"seconds": 0.002},
    "chance at the first rate": {"chance_above": 5e-4},
    "nan at the first rate": {"nan_above": 5e-4},
    "a snapshot cut off without a word": {"cut_state_at": 20},
    "a resume that starts again": {"no_resume": True},
}
"""Nothing that ends a trial; it finishes."""

NOT_OF_FAILURES = {"record", "processes"}
NEEDS_A_DISK = {"fill_disk_at"}  # test_disk.py gives it one


@pytest.fixture(autouse=True)
def nothing_survives(fake: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(process.CaffeProcess.__init__.__kwdefaults__, "grace_s", 0.3)
    yield
    assert fake.alive() == []


def test_the_table_is_complete() -> None:
    """Each key that the fake documents has a row."""
    text = FAKE.read_text()
    said = text[: text.index("import contextlib")]
    keys = {
        key
        for line in re.findall(r"^    (\w+(?:, \w+)*)  +\S", said, re.MULTILINE)
        for key in line.split(", ")
    }
    assert "torn_state_at" in keys
    scripts = [row.script for row in TABLE.values()] + list(HARMLESS.values())
    used = {key for script in scripts for key in script}
    assert keys == used | NOT_OF_FAILURES | NEEDS_A_DISK
    assert {row.outcome for row in TABLE.values()} == set(Outcome) - {Outcome.FINISHED}


@pytest.mark.parametrize("name", TABLE)
def test_it_ends_in_its_outcome(fake: Any, name: str) -> None:
    row = TABLE[name]
    fake.script(**row.script)
    result = fake.run(replace(RECIPE, **row.recipe))
    assert result.outcome is row.outcome, result
    assert row.message in result.message
    assert "\n" not in result.message
    assert (len(fake.processes()), len(result.accuracies)) == (row.processes, row.epochs)
    retried = [event for event in fake.events if isinstance(event, Retried)]
    assert len(retried) == (row.outcome in (Outcome.CRASHED, Outcome.TIMEOUT))
    assert ("result.json" in fake.files()) is (row.outcome is not Outcome.STOPPED)
    if row.outcome is Outcome.STOPPED:
        assert not Snapshots(fake.folder, "snapshot_0").any_torn()  # it would only take space
    else:
        assert not any("iter" in file for file in fake.files())


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.goes_on is not None])
def test_a_retry_goes_on_from_the_newest_whole_snapshot(fake: Any, name: str) -> None:
    """And ends as if nothing had happened."""
    row = TABLE[name]
    recipe = replace(RECIPE, **row.recipe)
    fake.script()
    wanted = run_trial(fake.run_folder / "trials" / "b", fake.run_folder, "", recipe, fake.caffe)
    fake.record.unlink()
    failing = row.processes - 2
    fake.script(processes={str(failing): row.script})
    result = run_trial(fake.folder, fake.run_folder, "", recipe, fake.caffe, fake.events.append)
    assert replace(result, seconds=0) == replace(wanted, seconds=0)
    resumed = fake.processes()[failing + 1]["argv"][-1]
    assert resumed.endswith(f"snapshot_0_iter_{row.goes_on}.solverstate")


@pytest.mark.parametrize("name", HARMLESS)
def test_it_does_no_harm(fake: Any, name: str) -> None:
    fake.script(**HARMLESS[name])
    result = fake.run(RECIPE)
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 4)


def test_a_stopped_trial_goes_on(fake: Any) -> None:
    for name, row in TABLE.items():
        if row.outcome is Outcome.STOPPED:
            fake.folder = fake.run_folder / name
            fake.script(**row.script)
            assert fake.run(RECIPE).outcome is Outcome.STOPPED
            fake.script()
            assert fake.run(replace(RECIPE, retries=0)).outcome is Outcome.FINISHED


def test_a_crash_on_a_full_disk_is_not_judged(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caffe's last words would have gone to the same disk."""
    monkeypatch.setattr(disk, "free_bytes", lambda folder: disk.LEAST - 1)
    fake.script(signal_at=[16, signal.SIGABRT])
    result = fake.run(RECIPE)
    assert result.outcome is Outcome.STOPPED
    assert result.message == (
        f"no space left on the disk of {fake.run_folder} (1.0 MB free): "
        "free some and give the same command again"
    )
