"""Final trainings: the published nets and the search's best, on all training images.

One after the other, where the search trains: on a node of the cluster, or here.
"""

from __future__ import annotations

from dataclasses import dataclass

from prototxt_gen.notation import parse
from reproduce.driver import Driver
from reproduce.experiments.schema import FinalTraining
from reproduce.nets import final_plan
from reproduce.results.summary import BEST, best_trial
from reproduce.run import RunError
from reproduce.training.executors import Job, local_slots
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.trial import run_trial


@dataclass(frozen=True)
class _Final:
    """A final training: what to train, how, and the learning rate if the search found one."""

    id: str
    architecture: str
    section: FinalTraining
    rate: float | None


def train_finals(driver: Driver) -> list[str]:
    """Train what the run has not trained yet; returns a line for each training that failed."""
    waiting = _waiting(driver)
    failures = []
    while waiting:
        seconds = sum(_seconds(driver, final) for final in waiting)
        if failure := _train(driver, waiting.pop(0), seconds):
            failures.append(failure)
    return failures


def _waiting(driver: Driver) -> list[_Final]:
    experiment, done = driver.experiment, driver.memory.finals()
    waiting = [
        _Final(net.id, net.net.notation, net, None)
        for net in experiment.published
        if net.id not in done
    ]
    if experiment.final is None:
        return waiting
    best = best_trial(driver.memory.trials())
    if best is None or best.result is None:
        driver.display.line("Final training: no net of the search finished, none to train")
    elif BEST not in done:
        rate = best.result.learning_rate
        waiting.append(_Final(BEST, best.architecture, experiment.final, rate))
    return waiting


def _seconds(driver: Driver, final: _Final) -> float:
    macs = driver.pace.macs(final.architecture, final.section.padding)
    return driver.pace.training_seconds(macs, final.section.epochs)


def _train(driver: Driver, final: _Final, seconds_left: float) -> str | None:
    """Train one net; what can be tried again leaves no record, and a line that says so."""
    experiment, data = driver.experiment, driver.data
    plan = final_plan(experiment, data, parse(final.architecture), final.section, final.rate)
    driver.display.heading(
        f"Final training of {final.id}: {final.architecture}, {final.section.epochs} epochs "
        f"of all {experiment.data.train_images:,} images",
        seconds_left,
    )
    folder = driver.folder / "finals" / final.id.replace("/", "-")
    job = Job(final.id, folder, driver.folder, plan.net, plan.recipe, driver.caffe)
    result = _result(driver, job)
    if result.outcome is Outcome.STOPPED:
        raise RunError(f"{result.message}; the same command goes on from here")
    if result.outcome not in (Outcome.FINISHED, Outcome.DIVERGED):
        for name in ("result.json", "processes.jsonl"):
            (folder / name).unlink(missing_ok=True)
        return f"final training of {final.id} failed: {result.outcome} ({result.message})"
    driver.memory.record_final(final.id, final.architecture, result)
    return None


def _result(driver: Driver, job: Job) -> TrialResult:
    if driver.options.executor == "ray":
        with driver.executor() as executor:
            return executor.submit(job).result()
    slot = local_slots(driver.options.gpus, threads=driver.options.threads)[0]
    return run_trial(
        job.folder,
        job.run_folder,
        job.net_text,
        job.recipe,
        slot.caffe(job.caffe),
        driver.display.trial_event,
    )
