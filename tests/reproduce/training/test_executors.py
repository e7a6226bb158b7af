"""Many trials at a time: slots, order of completion, stopping."""

import threading
import time
from concurrent.futures import as_completed, wait
from dataclasses import replace
from typing import Any

import pytest

from reproduce.training import executors
from reproduce.training.executors import (
    ClosingExecutor,
    Executor,
    ExecutorError,
    Job,
    LocalExecutor,
    Slot,
    local_slots,
)
from reproduce.training.outcome import Outcome
from reproduce.training.recipe import Recipe
from reproduce.training.trial import TrialError
from reproduce.training.trial_events import TrialFinished

RECIPE = Recipe(epochs=2, iterations_per_epoch=4, test_iter=1, base_lr=0.001, chance_accuracy=0.1)


def job(fake: Any, key: str, recipe: Recipe = RECIPE) -> Job:
    folder = fake.run_folder / "trials" / key
    return Job(key, folder, fake.run_folder, f'name: "{key}"\n', recipe, fake.caffe)


def test_an_executor_is_one(fake: Any) -> None:
    with LocalExecutor([Slot()]) as executor:
        interface: Executor = executor
        closing: ClosingExecutor = executor
        assert interface is closing
        assert interface.slots == 1


def test_every_job_comes_back_in_order_of_completion(fake: Any) -> None:
    fake.script(seconds=0.005)
    finished, lock = [], threading.Lock()

    def note(job: Job, event: object) -> None:
        if isinstance(event, TrialFinished):
            with lock:
                finished.append(job.key)

    with LocalExecutor([Slot(threads=1), Slot(threads=1)], note) as executor:
        long = replace(RECIPE, epochs=60)
        futures = [executor.submit(job(fake, "long", long))]
        futures += [executor.submit(job(fake, key)) for key in ("a", "b", "c")]
        results = [future.result() for future in as_completed(futures)]
    assert finished == ["a", "b", "c", "long"]
    assert all(result.outcome is Outcome.FINISHED for result in results)


def test_slots_set_gpu_and_threads(fake: Any) -> None:
    one = replace(RECIPE, epochs=1)
    with LocalExecutor([Slot(gpu=3)]) as executor:
        executor.submit(job(fake, "gpu", one)).result()
    with LocalExecutor([Slot(threads=2)]) as executor:
        executor.submit(job(fake, "cpu", one)).result()
    gpu, cpu = fake.processes()
    assert (gpu["gpu"], cpu["gpu"], cpu["threads"]) == ("3", None, "2")


@pytest.mark.parametrize(
    "slots", [[Slot(gpu=0), Slot(gpu=1)], local_slots([5], slots_per_gpu=2)], ids=["two", "shared"]
)
def test_one_trial_per_slot_at_a_time(fake: Any, slots: list[Slot]) -> None:
    fake.script(seconds=0.01)
    running, most = set(), []

    def note(job: Job, event: object) -> None:
        running.add(job.key)
        if isinstance(event, TrialFinished):
            running.discard(job.key)
        most.append(len(running))

    with LocalExecutor(slots, note) as executor:
        wait([executor.submit(job(fake, key)) for key in "abcde"])
    assert max(most) == 2
    assert {process["gpu"] for process in fake.processes()} == {str(s.gpu) for s in slots}


def test_a_place_is_known_as_soon_as_a_job_has_a_slot(fake: Any) -> None:
    """When it is submitted or, where all slots are taken, when one becomes free."""
    fake.script(hang_at=5)
    with LocalExecutor([Slot(gpu=3), Slot(gpu=1)]) as executor:
        first = executor.submit(job(fake, "a", replace(RECIPE, epochs=1)))
        assert executor.place("a") == "GPU 3"
        executor.submit(job(fake, "b"))
        assert executor.place("b") == "GPU 1"
        executor.submit(job(fake, "c"))
        executor.submit(job(fake, "d"))
        assert first.result().outcome is Outcome.FINISHED
        assert [executor.place(key) for key in "abcde"] == ["GPU 3", "GPU 1", "GPU 3", None, None]


def test_jobs_that_wait_and_jobs_that_come_take_turns(fake: Any) -> None:
    """Whoever submits when: each job ends, and in the order of its turn on the one slot."""
    one, ended = replace(RECIPE, epochs=1), []

    def note(done: Job, event: object) -> None:
        if isinstance(event, TrialFinished):
            ended.append(done.key)
            if done.key in "ab":  # more of them while others wait
                futures.append(executor.submit(job(fake, done.key * 2, one)))

    with LocalExecutor([Slot()], note) as executor:
        futures = [executor.submit(job(fake, key, one)) for key in "abc"]
        wait(futures)
        wait(futures)
        assert ended == ["a", "b", "c", "aa", "bb"]
        assert {executor.place(key) for key in ended} == {"CPU"}


def test_leaving_stops_what_runs(fake: Any) -> None:
    fake.script(hang_at=5)
    with LocalExecutor([Slot()]) as executor:
        running, queued = (executor.submit(job(fake, key)) for key in "ab")
        while not fake.processes():
            time.sleep(0.01)
    assert running.result().outcome is Outcome.STOPPED
    assert queued.result().outcome is Outcome.STOPPED
    assert fake.alive() == []


def test_an_error_of_a_trial_is_raised_by_its_future(fake: Any) -> None:
    bad = replace(job(fake, "a"), folder=fake.run_folder.parent / "elsewhere")
    with LocalExecutor([Slot()]) as executor:
        future = executor.submit(bad)
        with pytest.raises(TrialError, match="is not inside"):
            future.result()


def test_no_slots() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        LocalExecutor([])


def test_slots_of_gpus_take_turns() -> None:
    """So that half as many trials as slots use every GPU."""
    assert local_slots([2, 0]) == [Slot(gpu=2), Slot(gpu=0)]
    slots = local_slots([0, 1, 2, 3], slots_per_gpu=2, cpu_slots=7, threads=3)
    assert [slot.gpu for slot in slots] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert {slot.threads for slot in slots} == {3}


def test_slots_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_slots([]) == [Slot()]
    assert local_slots([], cpu_slots=2, threads=5) == [Slot(threads=5)] * 2
    monkeypatch.setattr(executors, "_cpus", lambda: 8)
    assert local_slots([], cpu_slots=3) == [Slot(threads=2)] * 3
    assert local_slots([], cpu_slots=9) == [Slot(threads=1)] * 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0], 0), "slots per GPU must be at least 1, not 0"),
        (([], 1, 0), "CPU slots must be at least 1, not 0"),
        (([], 1, 1, 0), "threads must be at least 1, not 0"),
        (([0, -1],), "there is none of number -1"),
        (([0, 1, 0],), "GPU 0 is named twice"),
    ],
)
def test_slots_that_cannot_be_had(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ExecutorError, match=said):
        local_slots(*arguments)


def test_slots_without_a_gpu_pass_none(fake: Any) -> None:
    one = replace(RECIPE, epochs=1)
    with LocalExecutor(local_slots([], cpu_slots=2, threads=3)) as executor:
        wait([executor.submit(job(fake, key, one)) for key in "ab"])
    for process in fake.processes():
        assert not [word for word in process["argv"] if "gpu" in word]
        assert process["threads"] == "3"
