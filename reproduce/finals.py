"""Final trainings: the published nets and the search's best, on all training images; ensembles.

One after the other, where the search trains: on a node of the cluster, or here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from prototxt_gen.notation import parse
from reproduce.before_finals import check_cost, final_slot, measure_pace
from reproduce.driver import Driver
from reproduce.experiments.schema import FinalTraining
from reproduce.nets import PreparedData, final_plan
from reproduce.results.ensemble import Member, evaluate
from reproduce.results.predictions import PredictionError, predict
from reproduce.results.top_models import top_id, top_trials, validation_accuracy
from reproduce.run import RunError
from reproduce.search.space import SearchSpace
from reproduce.training.executors import Job
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.snapshots import MODEL
from reproduce.training.trial import CAN_BE_TRIED_AGAIN, run_trial


@dataclass(frozen=True)
class _Final:
    """A final training: what and how; of a net of the search its learning rate and space too."""

    id: str
    architecture: str
    section: FinalTraining
    rate: float | None
    data: PreparedData
    space: SearchSpace | None


def final_folder(run_folder: Path, id_: str) -> Path:
    """Where a final training lies."""
    return run_folder / "finals" / id_.replace("/", "-")


def train_finals(driver: Driver) -> list[str]:
    """Train what the run has not trained yet, then evaluate the top models and their ensembles.

    A net whose training fails keeps no other from being trained or evaluated.

    Returns:
        A line for each training, and each model's predictions, that failed.

    Raises:
        RunError: if it was stopped, or takes more than 30 days, unless `options.yes`.
        PreflightError: if the trainer does not work.
    """
    waiting = _waiting(driver)
    failures = []
    if waiting:
        middle = sorted(waiting, key=lambda final: _macs(driver, final))[len(waiting) // 2]
        work = _macs(driver, middle) * middle.section.batch
        measure_pace(driver, _job(driver, middle), middle.data, work)
        check_cost(driver, sum(_seconds(driver, final) for final in waiting))
    while waiting:
        seconds = sum(_seconds(driver, final) for final in waiting)
        if failure := _train(driver, waiting.pop(0), seconds):
            failures.append(failure)
    return failures + evaluate_top_models(driver)


def _waiting(driver: Driver) -> list[_Final]:
    experiment, done = driver.experiment, driver.memory.finals()
    waiting = [
        _Final(net.id, net.net.notation, net, None, driver.data_of(net), None)
        for net in experiment.published
        if net.id not in done
    ]
    section = experiment.final
    if section is not None and experiment.q_learning.stages:
        tops = top_trials(driver.memory.trials(), section.top)
        if not tops:
            driver.display.line("Final training: no net of the search finished, none to train")
        for place, trial in enumerate(tops, 1):
            if (id_ := top_id(place)) not in done:
                rate = trial.result.learning_rate if trial.result else None
                data, space = driver.data_of(section), driver.agent.space
                waiting.append(_Final(id_, trial.architecture, section, rate, data, space))
    return waiting


def _macs(driver: Driver, final: _Final) -> int:
    return driver.pace.macs(final.architecture, final.section.padding)


def _seconds(driver: Driver, final: _Final) -> float:
    images = final.data.records("train_full")
    return driver.pace.training_seconds(_macs(driver, final), final.section.epochs, images)


def _job(driver: Driver, final: _Final) -> Job:
    plan = final_plan(
        driver.experiment,
        final.data,
        parse(final.architecture),
        final.section,
        final.rate,
        final.space,
    )
    recipe = replace(plan.recipe, keep_snapshot=True)
    folder = final_folder(driver.folder, final.id)
    return Job(final.id, folder, driver.folder, plan.net, recipe, driver.caffe)


def _train(driver: Driver, final: _Final, seconds_left: float) -> str | None:
    """Train one net; what can be tried again is kept as a failure, and a line says so."""
    images = final.data.records("train_full")
    driver.display.heading(
        f"Final training of {final.id}: {final.architecture}, {final.section.epochs} epochs "
        f"of all {images:,} images",
        seconds_left,
    )
    job = _job(driver, final)
    result = _result(driver, job, final.data)
    if result.outcome is Outcome.STOPPED:
        raise RunError(f"{result.message}; the same command goes on from here")
    failures = driver.memory.get("final_failures") or {}
    if result.outcome in CAN_BE_TRIED_AGAIN:
        failures[final.id] = f"{result.outcome}: {result.message}"
        driver.memory.put(final_failures=failures)
        for name in ("result.json", "processes.jsonl"):
            (job.folder / name).unlink(missing_ok=True)
        return f"final training of {final.id} failed: {result.outcome} ({result.message})"
    failures.pop(final.id, None)
    with driver.memory.transaction():
        driver.memory.record_final(final.id, final.architecture, result)
        driver.memory.put(final_failures=failures)
    return None


def _result(driver: Driver, job: Job, data: PreparedData) -> TrialResult:
    if driver.options.executor == "ray":
        with driver.executor(data) as executor:
            return executor.submit(job).result()
    return run_trial(
        job.folder,
        job.run_folder,
        job.net_text,
        job.recipe,
        final_slot(driver.options).caffe(job.caffe),
        driver.display.trial_event,
    )


def evaluate_top_models(driver: Driver) -> list[str]:
    """Predict each test image with each of the top models, score them and their ensembles.

    The evaluation is kept with the run; predictions that are there are not made again. Models
    that are not trained, or without predictions, are left out.

    Returns:
        A line for each model whose predictions Caffe could not tell.

    Raises:
        RunError: if it was stopped.
    """
    section, finals = driver.experiment.final, driver.memory.finals()
    failures: list[str] = []
    if section is None:
        return failures
    members, labels = [], None
    for place, trial in enumerate(top_trials(driver.memory.trials(), section.top), 1):
        id_ = top_id(place)
        folder = final_folder(driver.folder, id_)
        model = folder / MODEL
        if id_ not in finals or finals[id_][1].outcome is not Outcome.FINISHED:
            continue
        if not model.is_file():
            driver.display.line(f"No predictions of {id_}: its model is not in {folder}")
            continue
        driver.display.heading(f"Predictions of {id_} on the test images", None)
        try:
            found = predict(
                folder / "test.h5",
                driver.folder,
                (folder / "net.prototxt").read_text(),
                model,
                driver.data_of(section).path("test.lmdb"),
                final_slot(driver.options).caffe(driver.caffe),
                batch_limit=section.test_batch,
            )
        except PredictionError as error:
            if error.outcome is Outcome.STOPPED:
                raise RunError(f"{error}; the same command goes on from here") from None
            failures.append(f"predictions of {id_} failed: {error}")
            continue
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
    return failures
