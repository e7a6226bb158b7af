"""Final trainings: the published nets and the search's best, on all training images; ensembles.

One after the other, where the search trains: on a node of the cluster, or here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from prototxt_gen.notation import parse
from reproduce.driver import Driver
from reproduce.experiments.schema import FinalTraining
from reproduce.nets import PreparedData, final_plan
from reproduce.results.ensemble import Member, evaluate
from reproduce.results.predictions import predict
from reproduce.results.top_models import top_id, top_trials, validation_accuracy
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
    data: PreparedData


def final_folder(run_folder: Path, id_: str) -> Path:
    """Where a final training lies."""
    return run_folder / "finals" / id_.replace("/", "-")


def train_finals(driver: Driver) -> list[str]:
    """Train what the run has not trained yet, then evaluate the top models and their ensembles.

    Returns a line for each training that failed.
    """
    waiting = _waiting(driver)
    failures = []
    while waiting:
        seconds = sum(_seconds(driver, final) for final in waiting)
        if failure := _train(driver, waiting.pop(0), seconds):
            failures.append(failure)
    if driver.experiment.final is not None and not failures:
        evaluate_top_models(driver)
    return failures


def _waiting(driver: Driver) -> list[_Final]:
    experiment, done = driver.experiment, driver.memory.finals()
    wanted = [
        _Final(net.id, net.net.notation, net, None, driver.data_of(net))
        for net in experiment.published
    ]
    section = experiment.final
    if section is not None and experiment.q_learning.stages:
        tops = top_trials(driver.memory.trials(), section.top)
        if not tops:
            driver.display.line("Final training: no net of the search finished, none to train")
        data = driver.data_of(section) if tops else driver.data
        for place, trial in enumerate(tops, 1):
            rate = trial.result.learning_rate if trial.result else None
            wanted.append(_Final(top_id(place), trial.architecture, section, rate, data))
    return [final for final in wanted if final.id not in done]


def _seconds(driver: Driver, final: _Final) -> float:
    macs = driver.pace.macs(final.architecture, final.section.padding)
    images = final.data.records("train_full")
    return driver.pace.training_seconds(macs, final.section.epochs, images)


def _train(driver: Driver, final: _Final, seconds_left: float) -> str | None:
    """Train one net; what can be tried again leaves no record, and a line that says so."""
    experiment = driver.experiment
    images = final.data.records("train_full")
    plan = final_plan(experiment, final.data, parse(final.architecture), final.section, final.rate)
    driver.display.heading(
        f"Final training of {final.id}: {final.architecture}, {final.section.epochs} epochs "
        f"of all {images:,} images",
        seconds_left,
    )
    folder = final_folder(driver.folder, final.id)
    job = Job(final.id, folder, driver.folder, plan.net, plan.recipe, driver.caffe)
    result = _result(driver, job, final.data)
    if result.outcome is Outcome.STOPPED:
        raise RunError(f"{result.message}; the same command goes on from here")
    if result.outcome not in (Outcome.FINISHED, Outcome.DIVERGED):
        for name in ("result.json", "processes.jsonl"):
            (folder / name).unlink(missing_ok=True)
        return f"final training of {final.id} failed: {result.outcome} ({result.message})"
    driver.memory.record_final(final.id, final.architecture, result)
    return None


def _result(driver: Driver, job: Job, data: PreparedData) -> TrialResult:
    if driver.options.executor == "ray":
        with driver.executor(data) as executor:
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


def evaluate_top_models(driver: Driver) -> None:
    """Predict each test image with each of the top models, score them and their ensembles.

    The evaluation is kept with the run; predictions that are there are not made again.

    Raises:
        PredictionError: if Caffe cannot tell its predictions.
    """
    section, finals = driver.experiment.final, driver.memory.finals()
    if section is None:
        return
    members, labels = [], None
    for place, trial in enumerate(top_trials(driver.memory.trials(), section.top), 1):
        id_ = top_id(place)
        folder = final_folder(driver.folder, id_)
        model = folder / "model.caffemodel"
        if finals[id_][1].outcome is not Outcome.FINISHED:
            continue
        if not model.is_file():
            driver.display.line(f"No predictions of {id_}: its model is not in {folder}")
            continue
        driver.display.heading(f"Predictions of {id_} on the test images", None)
        found = predict(
            folder / "test.h5",
            driver.folder,
            (folder / "net.prototxt").read_text(),
            model,
            driver.data_of(section).path("test.lmdb"),
            local_slots(driver.options.gpus, threads=driver.options.threads)[0].caffe(driver.caffe),
            batch_limit=section.test_batch,
        )
        accuracy = validation_accuracy(trial)
        members.append(Member(id_, accuracy or 0.0, found.probabilities))
        labels = found.labels
    if labels is not None:
        rng = np.random.default_rng(driver.experiment.seed)
        evaluation = evaluate(members, labels, rng, section.ensembles)
        ensembles = [
            asdict(one) | {"verdict": one.against_best_member.verdict}
            for one in evaluation.ensembles
        ]
        for one in ensembles:
            driver.display.line(f"    {one['verdict']}")
        scores = [asdict(score) for score in evaluation.members]
        driver.memory.put(
            evaluation=json.loads(json.dumps({"members": scores, "ensembles": ensembles}))
        )
