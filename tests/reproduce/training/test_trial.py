"""One trial with the scripted `caffe`: the restart ladder, going on, what lies on disk."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from prototxt_gen import caffe_pb2
from reproduce.training import process
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import remove_model
from reproduce.training.trial import TrialError, run_trial
from reproduce.training.trial_events import (
    EpochFinished,
    PhaseStarted,
    Restarted,
    Retried,
    TrainProgress,
    TrialFinished,
)

ACCURACIES = [0.5, 0.6, 0.7, 0.65]
RECIPE = Recipe(
    epochs=4,
    iterations_per_epoch=10,
    test_iter=2,
    base_lr=0.001,
    lr_policy="step",
    gamma=0.2,
    step_epochs=2,
    chance_accuracy=0.1,
    display=5,
    random_seed=7,
)


def solver(fake: Any, name: str) -> Any:
    text = (fake.folder / name).read_text()
    return text_format.Parse(text, caffe_pb2.SolverParameter())


@pytest.fixture(autouse=True)
def nothing_survives(fake: Any) -> Iterator[None]:
    yield
    assert fake.alive() == []


# Training


def test_a_trial_that_learns(fake: Any) -> None:
    fake.script(accuracies=ACCURACIES)
    result = fake.run(RECIPE)
    assert result == TrialResult(
        Outcome.FINISHED,
        tuple(ACCURACIES),
        0.001,
        restarts=0,
        iterations=40,
        seconds=result.seconds,
        trainer="caffe version 1.0.0-fake",
    )
    assert 0 < result.seconds < 20
    assert not any("snapshot" in name or "model" in name for name in fake.files())


def test_commands_and_solver_files(fake: Any) -> None:
    fake.run(RECIPE)
    first, rest = fake.processes()
    folder = "trials/a"
    assert first["argv"] == ["train", f"--solver={folder}/solver_0_first.prototxt"]
    assert rest["argv"] == [
        "train",
        f"--solver={folder}/solver_0.prototxt",
        f"--snapshot={folder}/snapshot_0_iter_10.solverstate",
    ]
    assert first["cwd"] == rest["cwd"] == str(fake.run_folder)
    assert first["glog"] == "1"
    one, all_ = solver(fake, "solver_0_first.prototxt"), solver(fake, "solver_0.prototxt")
    assert (one.max_iter, all_.max_iter) == (10, 40)
    for each in (one, all_):
        assert each.net == f"{folder}/net.prototxt"
        assert each.snapshot_prefix == f"{folder}/snapshot_0"
        assert (each.test_interval, each.snapshot, each.stepsize) == (10, 10, 20)
        assert (each.random_seed, list(each.test_iter), each.display) == (7, [2], 5)


def test_events_tell_the_story_once(fake: Any) -> None:
    fake.script(accuracies=ACCURACIES)
    result = fake.run(RECIPE)
    story = [event for event in fake.events if not isinstance(event, TrainProgress)]
    losses = [event.loss for event in story if isinstance(event, EpochFinished)]
    assert story == [
        PhaseStarted(0, 0.001, 0, 10),
        EpochFinished(0, 1, 4, 0.5, losses[0]),
        PhaseStarted(0, 0.001, 10, 40),
        EpochFinished(0, 2, 4, 0.6, losses[1]),
        EpochFinished(0, 3, 4, 0.7, losses[2]),
        EpochFinished(0, 4, 4, 0.65, losses[3]),
        TrialFinished(result),
    ]
    lines = [event for event in fake.events if isinstance(event, TrainProgress)]
    assert [line.iteration for line in lines] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert lines[0].iterations_per_second is None
    assert lines[1].iterations_per_second > 0


def test_without_the_rule_it_trains_in_one_go(fake: Any) -> None:
    fake.script(accuracies=[0.1, 0.1, 0.1, 0.1])
    result = fake.run(replace(RECIPE, chance_accuracy=None))
    assert (result.outcome, result.accuracies) == (Outcome.FINISHED, (0.1,) * 4)
    assert len(fake.processes()) == 1


def test_one_epoch_needs_one_process(fake: Any) -> None:
    result = fake.run(replace(RECIPE, epochs=1))
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 1)
    assert len(fake.processes()) == 1


def test_the_model_is_kept_on_request(fake: Any) -> None:
    fake.run(replace(RECIPE, keep_model=True))
    model = caffe_pb2.NetParameter.FromString((fake.folder / "model.caffemodel").read_bytes())
    assert model.layer[0].name == "ip"
    assert not any("snapshot" in name for name in fake.files())


def test_at_most_two_snapshots_lie_on_disk(fake: Any) -> None:
    counts = []

    def count(event: object) -> None:
        counts.append(len(list(fake.folder.glob("*.solverstate"))))

    fake.script(seconds=0.01)
    recipe = replace(RECIPE, epochs=8)
    run_trial(fake.folder, fake.run_folder, "", recipe, fake.caffe, count)
    assert max(counts) <= 2


def test_completion_is_the_last_test_not_the_exit_code(fake: Any) -> None:
    fake.script(exit_after=11)
    assert fake.run(RECIPE).outcome is Outcome.FINISHED


# The restart ladder


def test_restarts_at_chance(fake: Any) -> None:
    """0.001, 0.0004 and 0.00016 do not learn, 0.000064 does."""
    fake.script(chance_above=1e-4)
    result = fake.run(RECIPE)
    assert (result.outcome, result.restarts) == (Outcome.FINISHED, 3)
    assert result.learning_rate == pytest.approx(0.001 * 0.4**3)
    assert result.iterations == 3 * 10 + 40
    restarted = [event for event in fake.events if isinstance(event, Restarted)]
    assert [event.attempt for event in restarted] == [1, 2, 3]
    rates = [event.learning_rate for event in restarted]
    assert rates == pytest.approx([0.0004, 0.00016, 0.000064])
    assert "accuracy 0.1 after the first epoch" in restarted[0].reason
    names = [f"solver_{attempt}_first.prototxt" for attempt in range(4)]
    assert [solver(fake, name).random_seed for name in names] == [7, 8, 9, 10]
    assert [solver(fake, name).base_lr for name in names] == pytest.approx([0.001, *rates])
    assert all("--snapshot" not in word for run in fake.processes()[:4] for word in run["argv"])


def test_chance_level_after_five_restarts(fake: Any) -> None:
    fake.script(chance_above=0)
    result = fake.run(RECIPE)
    assert (result.outcome, result.restarts) == (Outcome.CHANCE_LEVEL, 5)
    assert result.accuracies == (0.1,)
    assert result.learning_rate == pytest.approx(0.001 * 0.4**5)
    assert (result.iterations, len(fake.processes())) == (60, 6)
    assert not any("snapshot" in name for name in fake.files())


def test_just_above_chance_goes_on(fake: Any) -> None:
    fake.script(accuracies=[0.1001, 0.2, 0.3, 0.4])
    assert fake.run(RECIPE).restarts == 0


@pytest.mark.parametrize("no_display", [False, True], ids=["in training", "in the test alone"])
def test_nan_in_the_first_epoch_restarts(fake: Any, no_display: bool) -> None:
    """Caffe reports accuracy 1 for a net of nan."""
    fake.script(nan_above=5e-4, no_display=no_display)
    result = fake.run(RECIPE)
    assert (result.outcome, result.restarts) == (Outcome.FINISHED, 1)
    assert 1.0 not in result.accuracies


def test_nan_ends_its_process_at_once(fake: Any) -> None:
    fake.script(processes={"0": {"nan_at": 0, "hang_at": 9}})
    result = fake.run(replace(RECIPE, timeout_s=20.0, retries=0))
    assert (result.outcome, result.restarts) == (Outcome.FINISHED, 1)
    assert result.seconds < 10


def test_nan_at_every_rate(fake: Any) -> None:
    fake.script(nan_above=0)
    result = fake.run(replace(RECIPE, max_restarts=2))
    assert (result.outcome, result.restarts) == (Outcome.CHANCE_LEVEL, 2)
    assert result.accuracies == ()
    assert "nan" in result.message


# Failures; test_failures.py has the table of them all


def test_nan_without_the_rule(fake: Any) -> None:
    fake.script(nan_at=3)
    result = fake.run(replace(RECIPE, chance_accuracy=None))
    assert (result.outcome, result.accuracies) == (Outcome.DIVERGED, ())


def test_retries_are_counted_per_trial(fake: Any) -> None:
    crash = {"signal_at": [5, signal.SIGSEGV]}
    later = {"signal_at": [25, signal.SIGSEGV]}
    fake.script(processes={"0": crash, "2": later})
    assert fake.run(replace(RECIPE, retries=2)).outcome is Outcome.FINISHED
    other = run_trial(
        fake.run_folder / "b", fake.run_folder, "", replace(RECIPE, retries=0), fake.caffe
    )
    assert other.outcome is Outcome.FINISHED


def test_no_retries(fake: Any) -> None:
    fake.script(processes={"0": {"signal_at": [5, signal.SIGSEGV]}})
    assert fake.run(replace(RECIPE, retries=0)).outcome is Outcome.CRASHED
    assert len(fake.processes()) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_a_failed_trial_leaves_its_newest_snapshot_where_it_shall_be_tried_again(
    fake: Any, keep: bool
) -> None:
    """It dies in the third epoch at each try; its records removed, it goes on from the second."""
    net = 'layer { name: "ip"\n type: "InnerProduct" }'

    def run() -> TrialResult:
        recipe = replace(RECIPE, keep_snapshot=keep)
        return run_trial(fake.folder, fake.run_folder, net, recipe, fake.caffe)

    fake.script(exit_at=[25, 1])
    assert run().outcome is Outcome.CRASHED
    assert run().outcome is Outcome.CRASHED  # told, not trained; nothing is removed
    left = {name for name in fake.files() if name.startswith("snapshot")}
    kinds = ("caffemodel", "solverstate")
    assert left == ({f"snapshot_0_iter_20.{kind}" for kind in kinds} if keep else set())
    for name in ("result.json", "processes.jsonl"):
        (fake.folder / name).unlink()
    fake.script()
    assert run().outcome is Outcome.FINISHED
    snapshot = "--snapshot=trials/a/snapshot_0_iter_20.solverstate"
    assert (fake.processes()[-1]["argv"][-1] == snapshot) is keep
    assert not any(name.startswith("snapshot") for name in fake.files())


def test_killed_by_the_kernel(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(100))
    monkeypatch.setattr(process, "kernel_oom_kills", lambda: next(counts))
    fake.script(signal_at=[5, signal.SIGKILL])
    result = fake.run(RECIPE)
    assert result.outcome is Outcome.OUT_OF_MEMORY
    assert "kernel" in result.message


def test_a_timeout_is_retried_from_caffes_last_snapshot(fake: Any) -> None:
    fake.script(processes={"1": {"hang_at": 15}})
    result = fake.run(replace(RECIPE, timeout_s=0.5))
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 4)
    assert fake.processes()[2]["argv"][-1].endswith("snapshot_0_iter_15.solverstate")


def test_a_model_that_was_not_kept_whole_is_trained_again(fake: Any) -> None:
    """Caffe does not see that the disk had no space for the last kilobytes."""
    recipe = replace(RECIPE, keep_model=True)
    fake.script(accuracies=ACCURACIES, processes={"1": {"cut_state_at": 40}})
    result = fake.run(recipe)
    assert (result.outcome, result.accuracies) == (Outcome.FINISHED, tuple(ACCURACIES))
    assert fake.processes()[2]["argv"][-1].endswith("snapshot_0_iter_30.solverstate")
    assert "model.caffemodel" in fake.files()
    (retried,) = [event for event in fake.events if isinstance(event, Retried)]
    assert "without a whole snapshot" in retried.reason
    assert [e.epoch for e in fake.events if isinstance(e, EpochFinished)] == [1, 2, 3, 4]


# Stopping and going on


def stop_at(fake: Any, iteration: int) -> threading.Event:
    """An event that is set when the iteration's line of loss has been read."""
    stop = threading.Event()

    def listen(event: object) -> None:
        if isinstance(event, TrainProgress) and event.iteration == iteration:
            stop.set()

    fake.on_event = listen
    return stop


def test_a_copy_of_a_log_that_the_user_made_is_no_process_of_the_trial(fake: Any) -> None:
    fake.folder.mkdir(parents=True)
    for name in ("caffe_0_0_copy.log", "caffe_0_x.log", "caffe_0_9.log.txt"):
        (fake.folder / name).write_text("not a log")
    assert fake.run(RECIPE).outcome is Outcome.FINISHED
    assert (fake.folder / "caffe_0_0.log").exists()


def test_stop_and_go_on(fake: Any) -> None:
    fake.script(hang_at=25, accuracies=ACCURACIES)
    result = fake.run(RECIPE, stop=stop_at(fake, 20))
    assert (result.outcome, result.accuracies) == (Outcome.STOPPED, (0.5, 0.6))
    assert "result.json" not in fake.files()
    fake.script(accuracies=ACCURACIES)
    result = fake.run(RECIPE)
    assert (result.outcome, result.accuracies) == (Outcome.FINISHED, tuple(ACCURACIES))
    start = [event for event in fake.events if isinstance(event, PhaseStarted)][-1]
    assert 20 < start.from_iteration <= 25  # Caffe's own snapshot, written as it was stopped


def test_stopping_waits_for_the_end_of_a_long_iteration(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caffe obeys between two iterations; here one takes longer than the shortest grace."""
    monkeypatch.setitem(process.CaffeProcess.__init__.__kwdefaults__, "grace_s", 0.05)
    fake.script(seconds=0.4)
    recipe = replace(RECIPE, display=1)
    result = fake.run(recipe, stop=stop_at(fake, 1))
    assert result.outcome is Outcome.STOPPED
    fake.script()
    assert fake.run(recipe).outcome is Outcome.FINISHED
    starts = [event.from_iteration for event in fake.events if isinstance(event, PhaseStarted)]
    assert starts[0] == 0
    assert starts[1] > 1  # from the snapshot that Caffe wrote


def test_someone_elses_sigint_stops_the_trial(fake: Any) -> None:
    fake.script(processes={"1": {"hang_at": 15}})

    def interrupt(event: object) -> None:
        if isinstance(event, TrainProgress) and event.iteration == 10:
            os.kill(fake.processes()[-1]["pid"], signal.SIGINT)

    first = run_trial(fake.folder, fake.run_folder, "", RECIPE, fake.caffe, interrupt)
    assert first.outcome is Outcome.STOPPED
    again = run_trial(fake.folder, fake.run_folder, "", RECIPE, fake.caffe)
    assert again.outcome is Outcome.FINISHED


def test_a_finished_trial_is_not_trained_again(fake: Any) -> None:
    first = fake.run(RECIPE)
    processes = len(fake.processes())
    assert fake.run(RECIPE) == first
    assert len(fake.processes()) == processes


def test_a_failed_trial_is_not_trained_again(fake: Any) -> None:
    fake.script(exit_at=[5, 1])
    first = fake.run(RECIPE)
    fake.script()
    assert fake.run(RECIPE) == first


def test_spent_retries_stay_spent(fake: Any) -> None:
    """The driver died between its last process's failure and the result."""
    fake.script(exit_at=[5, 1])
    first = fake.run(RECIPE)
    (fake.folder / "result.json").unlink()
    fake.script()
    assert fake.run(RECIPE) == first
    assert len(fake.processes()) == 2


def test_the_limits_may_change_between_runs(fake: Any) -> None:
    first = fake.run(RECIPE)
    assert fake.run(replace(RECIPE, timeout_s=3.0, retries=4)) == first


@pytest.mark.parametrize("keep", [False, True])
def test_keeping_the_model_may_change_while_it_trains(fake: Any, keep: bool) -> None:
    fake.script(hang_at=25)
    fake.run(replace(RECIPE, keep_model=not keep), stop=stop_at(fake, 20))
    fake.script()
    assert fake.run(replace(RECIPE, keep_model=keep)).outcome is Outcome.FINISHED
    assert ("model.caffemodel" in fake.files()) is keep


def test_a_model_may_be_removed_after_the_end(fake: Any) -> None:
    recipe = replace(RECIPE, keep_model=True)
    first = fake.run(recipe)
    remove_model(fake.folder)
    assert fake.run(recipe) == fake.run(RECIPE) == first
    assert len(fake.processes()) == 2
    assert "model.caffemodel" not in fake.files()


def test_another_recipe_or_net_is_refused(fake: Any) -> None:
    fake.run(RECIPE)
    with pytest.raises(TrialError, match=r"recipe\.json differs"):
        fake.run(replace(RECIPE, epochs=5))
    with pytest.raises(TrialError, match=r"net\.prototxt differs"):
        run_trial(fake.folder, fake.run_folder, "other", RECIPE, fake.caffe)


def test_a_folder_outside_the_run_is_refused(fake: Any, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="is not inside"):
        run_trial(tmp_path / "elsewhere", fake.run_folder, "", RECIPE, fake.caffe)


def test_the_command_must_exist(fake: Any) -> None:
    caffe = replace(fake.caffe, argv=("/no/such/caffe",))
    result = run_trial(fake.folder, fake.run_folder, "", RECIPE, caffe)
    assert result.outcome is Outcome.CRASHED
    assert "cannot run /no/such/caffe" in result.message
