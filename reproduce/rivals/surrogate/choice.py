"""The surrogate as the trainer of a run: which runs may choose it, and how records name it.

Nothing here imports scikit-learn before a surrogate is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields
from importlib import import_module
from pathlib import Path

from reproduce.experiments.schema import Experiment
from reproduce.options import Options
from reproduce.rivals.surrogate.data import CIFAR10_FAILURE_SHARE, DATA_SETS, DataSet
from reproduce.rivals.surrogate.features import IMAGE
from reproduce.run import RunError
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.training.caffe import Caffe

OUTSIDE = "outside the surrogate's range: "
"""What the message of a trial begins with whose prediction is no more than a guess."""

NO_FINALS = (
    "a surrogate trains nothing, so that only `metaqnn search` takes it; final trainings need a "
    "Caffe"
)
_CLASSES = 10
_OF_TRAINING = (
    *("gpus", "slots_per_gpu", "cpu_slots", "threads", "executor"),
    *("ray_address", "gpus_per_trial", "cpus_per_trial"),
)


def surrogate_name(data_set: DataSet, seed: int, failure_share: float | None = None) -> str:
    """A surrogate's name: all that its predictions depend on, but for the authors' data.

    Raises:
        RunError: if scikit-learn is not installed.
    """
    if failure_share is None and data_set == "cifar10":
        failure_share = CIFAR10_FAILURE_SHARE
    share = "" if failure_share is None else f", failure share {failure_share}"
    return f"surrogate of {data_set}, seed {seed}{share}, scikit-learn {_scikit_learn()}"


def _scikit_learn() -> str:
    try:
        return str(import_module("sklearn").__version__)
    except ImportError as error:
        raise RunError(
            "scikit-learn is not installed: .venv/bin/pip install 'scikit-learn>=1.4', or "
            "`make setup-dev`"
        ) from error


def data_set_of(experiment: Experiment) -> DataSet:
    """The data set whose trainings a surrogate can predict for an experiment.

    Raises:
        RunError: if there is none.
    """
    data = experiment.data
    for name in DATA_SETS:
        whole = data.svhn in (None, "original")
        if (data.dataset, data.image, data.classes, whole) == (name, IMAGE, _CLASSES, True):
            return name
    raise RunError(
        "--trainer surrogate predicts what the authors trained, nets on all of CIFAR-10 or SVHN "
        f"(the experiments cifar10 and svhn), and not {experiment.title}"
    )


def check_choice(experiment: Experiment, options: Options) -> None:
    """Find that a surrogate can do what a run asks for.

    Raises:
        RunError: if it cannot; one line says which choice stands against it.
    """
    data_set_of(experiment)
    if options.finals:
        raise RunError(f"--trainer surrogate: {NO_FINALS}")
    share = options.failure_share
    if share is not None and not 0 <= share <= 1:
        raise RunError(f"--failure-share {share}: a share of failures is in [0, 1]")
    penalty = experiment.exploration.penalty
    if penalty is not None and penalty.of == "seconds":
        raise RunError(
            "--trainer surrogate takes no time, so that the experiment's penalty on seconds "
            "would be 0: take one on macs or parameters"
        )
    default = {field.name: field.default for field in fields(Options)}
    given = [name for name in _OF_TRAINING if getattr(options, name) != default[name]]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise RunError(f"--trainer surrogate trains nothing on any device: leave out {flags}")
    folder = authors_folder(options)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--authors-data {folder}: it is no folder")
    _scikit_learn()


def authors_folder(options: Options) -> Path:
    """Where the authors' data lies, or is fetched to."""
    return options.authors_data or options.cache / "authors"


def surrogate_caffe(experiment: Experiment, options: Options) -> Caffe:
    """The `caffe` that predicts the same; the search asks the surrogate in its own process."""
    data_set, seed = data_set_of(experiment), experiment.seed
    share = options.failure_share
    argv = (
        *(sys.executable, "-m", "reproduce.rivals.surrogate.command"),
        *("--authors-data", str(authors_folder(options))),
        *("--data-set", data_set, "--seed", str(seed)),
        *(() if share is None else ("--failure-share", str(share))),
    )
    return Caffe(argv, surrogate_name(data_set, seed, share), "surrogate")


def outside_range(memory: ReplayMemory, trials: Iterable[Trial]) -> dict[str, str] | None:
    """The architectures of a run whose rewards are no more than guesses, and why.

    None of a run that did not choose the surrogate: behind Caffe's command line the logs of its
    trials say it.
    """
    if (memory.get("options") or {}).get("trainer") != "surrogate":
        return None
    return {
        trial.architecture: trial.result.message.removeprefix(OUTSIDE)
        for trial in trials
        if trial.result is not None and trial.result.message.startswith(OUTSIDE)
    }
