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
from reproduce.experiments.schema import Experiment, FinalTraining
from reproduce.nets import PreparedData, final_plan
from reproduce.results.ensemble import Member, evaluate
from reproduce.results.predictions import PredictionError, Predictions, predict
from reproduce.results.top_models import top_id, top_trials, validation_accuracy
from reproduce.results.tuning import best_point, tuning_id
from reproduce.run import RunError
from reproduce.search.replay_memory import Trial
from reproduce.search.space import SearchSpace
from reproduce.training.executors import Job
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.snapshots import MODEL
from reproduce.training.trial import CAN_BE_TRIED_AGAIN, run_trial


@dataclass(frozen=True)
class Final:
    """A final training.

    Attributes:
        id: how the replay memory and the tables know it.
        architecture: the net, in its notation.
        section: how it is trained.
        rate: of a net of the search the learning rate that it was trained with there.
        data: what on.
        space: where a net of the search was sampled.
        experiment: the run's, or the same on another data set.
        weights: a `.caffemodel` to start from, relative to the run's folder; the layers whose
            outputs are the classes start anew.
        tuning: on the training part, to be compared by validation accuracy.
    """

    id: str
    architecture: str
    section: FinalTraining
    rate: float | None
    data: PreparedData
    space: SearchSpace | None
    experiment: Experiment
    weights: str | None = None
    tuning: bool = False

    @property
    def images(self) -> int:
        """How many images it is trained on in an epoch, or from one test to the next."""
        return self.section.epoch_images(
            self.data.records("train" if self.tuning else "train_full")
        )

    @property
    def length(self) -> str:
        """How long it is trained, in words."""
        epochs, of = self.section.epochs, "" if self.tuning else "all "
        if self.section.iterations is not None:
            return f"{epochs} times {self.section.iterations.test_interval:,} iterations"
        return f"{epochs} epochs of {of}{self.images:,} images"


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
    failures = []
    if tuning := _tuning(driver):
        after = sum(_seconds(driver, final) for final in _waiting(driver, tuned=False))
        failures = train_all(driver, tuning, after=after)
    failures += train_all(driver, _waiting(driver, tuned=True))
    return failures + evaluate_models(driver)


def train_all(driver: Driver, waiting: list[Final], *, after: float = 0.0) -> list[str]:
    """Train nets one after the other; one that fails keeps no other from being trained.

    `after` are the seconds of other trainings that follow these.

    Returns:
        A line for each training that failed.

    Raises:
        RunError: if it was stopped, or takes more than 30 days, unless `options.yes`.
        PreflightError: if the trainer does not work.
    """
    failures = []
    if waiting:
        middle = sorted(waiting, key=lambda final: _macs(driver, final))[len(waiting) // 2]
        work = _macs(driver, middle) * middle.section.batch
        measure_pace(driver, _job(driver, middle), middle.data, work)
        check_cost(driver, sum(_seconds(driver, final) for final in waiting) + after)
    waiting = list(waiting)
    while waiting:
        seconds = sum(_seconds(driver, final) for final in waiting) + after
        if failure := _train(driver, waiting.pop(0), seconds):
            failures.append(failure)
    return failures


def _waiting(driver: Driver, *, tuned: bool) -> list[Final]:
    """What is to be trained on all images; with `tuned`, only what needs no more tuning.

    A net with a point of its grid that could not be trained waits for it: another try may make
    that point the best.
    """
    experiment, done = driver.experiment, driver.memory.finals()
    waiting = [
        Final(net.id, net.net.notation, net, None, driver.data_of(net), None, experiment)
        for net in experiment.published
        if net.id not in done
    ]
    for place, trial in _tops(driver):
        points = [tuning_id(place, number) for number in range(1, len(experiment.grid) + 1)]
        if not tuned or all(id_ in done for id_ in points):
            waiting.append(_top(driver, place, trial, tuned))
    return waiting


def _tops(driver: Driver) -> list[tuple[int, Trial]]:
    """The search's best nets whose final training is not done, with their places."""
    section, done = driver.experiment.final, driver.memory.finals()
    if section is None or not driver.experiment.q_learning.stages:
        return []
    tops = top_trials(driver.memory.trials(), section.top)
    if not tops:
        driver.display.line("Final training: no net of the search finished, none to train")
    return [(place, trial) for place, trial in enumerate(tops, 1) if top_id(place) not in done]


def _top(driver: Driver, place: int, trial: Trial, tuned: bool) -> Final:
    """The final training of a net of the search, with the hyperparameters chosen for it."""
    section = driver.experiment.final
    assert section is not None, "there are no top models without"  # noqa: S101
    chosen = best_point(driver.experiment, driver.memory.finals(), place) if tuned else None
    if chosen is not None:
        section = section.model_copy(update=chosen.changes)
        driver.display.line(f"Tuning of {top_id(place)}: {chosen}")
        known = driver.memory.get("tuned") or {}
        driver.memory.put(tuned={**known, top_id(place): str(chosen)})
    return Final(
        top_id(place),
        trial.architecture,
        section,
        trial.result.learning_rate if trial.result else None,
        driver.data_of(section),
        driver.agent.space,
        driver.experiment,
    )


def _tuning(driver: Driver) -> list[Final]:
    """The points of the grid that are still to be tried for each of the top models."""
    experiment, done = driver.experiment, driver.memory.finals()
    section, tuning = experiment.final, experiment.tuning
    if section is None or tuning is None or not experiment.grid:
        return []
    return [
        Final(
            id_,
            trial.architecture,
            section.model_copy(update={"epochs": tuning.epochs, **changes}),
            trial.result.learning_rate if trial.result else None,
            driver.tuning_data(section),
            driver.agent.space,
            experiment,
            tuning=True,
        )
        for place, trial in _tops(driver)
        for number, changes in enumerate(experiment.grid, 1)
        if (id_ := tuning_id(place, number)) not in done
    ]


def _macs(driver: Driver, final: Final) -> int:
    return driver.pace.macs(final.architecture, final.section.padding)


def _seconds(driver: Driver, final: Final) -> float:
    macs, epochs = _macs(driver, final), final.section.epochs
    return driver.pace.training_seconds(macs, epochs, final.images)


def _job(driver: Driver, final: Final) -> Job:
    plan = final_plan(
        final.experiment,
        final.data,
        parse(final.architecture),
        final.section,
        final.rate,
        final.space,
        head="" if final.weights is None else f"_{final.experiment.data.dataset}",
        tuning=final.tuning,
    )
    recipe = replace(plan.recipe, keep_snapshot=True, weights=final.weights)
    folder = final_folder(driver.folder, final.id)
    return Job(final.id, folder, driver.folder, plan.net, recipe, driver.caffe)


def _train(driver: Driver, final: Final, seconds_left: float) -> str | None:
    """Train one net; what can be tried again is kept as a failure, and a line says so."""
    what = "Training" if final.tuning else "Final training"
    driver.display.heading(
        f"{what} of {final.id}: {final.architecture}, {final.length}",
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
        return f"{what.lower()} of {final.id} failed: {result.outcome} ({result.message})"
    if result.outcome is Outcome.FINISHED and result.seconds > 0:
        epochs = len(result.accuracies)
        driver.pace.final_trained(_macs(driver, final), epochs, final.images, result.seconds)
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


def evaluate_models(driver: Driver) -> list[str]:
    """Predict each test image with each of the top models, score them and their ensembles.

    Without a search the models are the published nets, files aside, the best published test error
    first: their validation accuracies are not published. The evaluation is kept with the run;
    predictions that are there are not made again. Models that are not trained, or without
    predictions, are left out.

    Returns:
        A line for each model whose predictions Caffe could not tell.

    Raises:
        RunError: if it was stopped.
    """
    failures: list[str] = []
    members, labels = [], None
    for id_, section, accuracy in _models(driver):
        try:
            found = _predictions(driver, id_, section)
        except PredictionError as error:
            if error.outcome is Outcome.STOPPED:
                raise RunError(f"{error}; the same command goes on from here") from None
            failures.append(f"predictions of {id_} failed: {error}")
            continue
        if found is not None:
            members.append(Member(id_, accuracy, found.probabilities))
            labels = found.labels
    if labels is not None:
        final = driver.experiment.final
        rng = np.random.default_rng(driver.experiment.seed)
        evaluation = evaluate(members, labels, rng, final.ensembles if final else ())
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


def _models(driver: Driver) -> list[tuple[str, FinalTraining, float]]:
    """The nets to be evaluated: id, how each is trained, and the accuracy that ranks it."""
    experiment = driver.experiment
    if not experiment.q_learning.stages:
        return [
            (net.id, net, 0.0 if net.net.error is None else 1 - net.net.error / 100)
            for net in experiment.published
            if net.file is None
        ]
    if experiment.final is None:
        return []
    tops = top_trials(driver.memory.trials(), experiment.final.top)
    return [
        (top_id(place), experiment.final, validation_accuracy(trial) or 0.0)
        for place, trial in enumerate(tops, 1)
    ]


def _predictions(driver: Driver, id_: str, section: FinalTraining) -> Predictions | None:
    """A net's predictions of the test images; None of one that is not trained, or was removed."""
    finals, folder = driver.memory.finals(), final_folder(driver.folder, id_)
    if id_ not in finals or finals[id_][1].outcome is not Outcome.FINISHED:
        return None
    model = folder / MODEL
    if not model.is_file():
        driver.display.line(f"No predictions of {id_}: its model is not in {folder}")
        return None
    driver.display.heading(f"Predictions of {id_} on the test images", None)
    return predict(
        folder / "test.h5",
        driver.folder,
        (folder / "net.prototxt").read_text(),
        model,
        driver.data_of(section).path("test.lmdb"),
        final_slot(driver.options).caffe(driver.caffe),
        batch_limit=section.test_batch,
    )
