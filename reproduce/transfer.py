"""Transfer (Table 5): a run's best net on other data sets, from scratch and from its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import DataError
from prototxt_gen.notation import Architecture, GlobalAveragePooling, Softmax, parse
from reproduce.driver import Driver, compare
from reproduce.experiments.schema import Experiment, FinalTraining, TransferTask
from reproduce.finals import Final, final_folder, train_all
from reproduce.results.top_models import top_id
from reproduce.run import RunError
from reproduce.search.replay_memory import ReplayMemory
from reproduce.search.space import SearchSpace
from reproduce.training.outcome import Outcome
from reproduce.training.snapshots import MODEL

SCRATCH, FINE_TUNED = "scratch", "fine-tuned"


def transfer_id(dataset: str, way: str) -> str:
    """The id of the training on a data set, from scratch or fine-tuned."""
    return f"transfer/{dataset}/{way}"


def with_classes(architecture: Architecture, classes: int) -> Architecture:
    """The same net for another number of classes."""
    layers = [
        type(layer)(classes) if isinstance(layer, GlobalAveragePooling | Softmax) else layer
        for layer in architecture.layers
    ]
    return Architecture(tuple(layers))


def best_net(memory: ReplayMemory, experiment: Experiment) -> str:
    """The id of the final training to transfer: the search's best, else the first published.

    Once a net was transferred it stays that one. A net from a file has layers of other names, and
    is none.

    Raises:
        RunError: if it is not trained.
    """
    published = [net.id for net in experiment.published if net.file is None]
    ids = [top_id(1)] if experiment.q_learning.stages else published
    if not ids:
        raise RunError("this run has no net to transfer: it trains nets from files alone")
    finals, source = memory.finals(), memory.get("transfer_source") or ids[0]
    if source not in finals:
        raise RunError(f"{source} has not been trained on all images; finish the run first")
    if (outcome := finals[source][1].outcome) is not Outcome.FINISHED:
        raise RunError(f"the training of {source} ended as {outcome}: there is nothing to transfer")
    return str(source)


def transfer(driver: Driver, datasets: Sequence[str], user_files: str | None) -> list[str]:
    """Train a run's best net on other data sets, where that was not done yet.

    What one data set lacks keeps no other from being trained.

    Args:
        driver: of a run whose best net is trained.
        datasets: names of the experiment's transfer tasks; none: all.
        user_files: the folder with the user's own files, if any.

    Returns:
        A line for each data set that cannot be had, and each training that failed.

    Raises:
        RunError: if the experiment has no such task, no net is trained, or it was stopped.
    """
    experiment, memory = driver.experiment, driver.memory
    known = experiment.transfer.tasks if experiment.transfer else ()
    tasks: dict[str, TransferTask] = {task.data.dataset: task for task in known}
    if not tasks:
        raise RunError(f"this run's experiment, {experiment.title}, has no transfer")
    if unknown := [name for name in datasets if name not in tasks]:
        there = ", ".join(tasks)
        raise RunError(f"{experiment.title} has no transfer to {unknown[0]!r}; there are: {there}")
    source = best_net(memory, experiment)
    model = final_folder(driver.folder, source) / MODEL
    if not model.is_file():
        raise RunError(f"{model}, the weights of {source}, is missing")
    memory.put(transfer_source=source)
    driver.user_files = Path(user_files) if user_files else None
    driver.display.line(f"Transfer of {source}: {memory.finals()[source][0]}")
    waiting: list[Final] = []
    failures = []
    for name in datasets or tasks:
        try:
            waiting += _trainings(driver, tasks[name], source, model)
        except (DataError, RunError) as error:
            failures.append(f"{name}: {error}")
    return failures + train_all(driver, waiting)


def _trainings(driver: Driver, task: TransferTask, source: str, model: Path) -> list[Final]:
    """What is still to be trained on one data set."""
    experiment, done = driver.experiment, driver.memory.finals()
    section, transfer_ = experiment.final, experiment.transfer
    if section is None or transfer_ is None:  # the schema allows no such tasks
        return []
    own = experiment.data
    said = task.data.model_copy(
        update={"normalize": own.normalize, "split": own.split, "floats": own.floats}
    )
    other = experiment.model_copy(update={"data": said})
    changes = {"epochs": task.epochs, "mirror": task.mirror, "test_batch": task.test_batch}
    scratch = section.model_copy(update={**changes, "svhn": said.svhn})
    wanted = {SCRATCH: scratch, FINE_TUNED: _slower(scratch, transfer_.fine_tuning_factor)}
    if all(transfer_id(said.dataset, way) in done for way in wanted):
        return []
    recipe = other.recipe_of(scratch) or said.recipe(experiment.seed, None)
    data = driver.prepared(f"Data of the transfer to {said.dataset}:", said.dataset, recipe)
    compare(said, data.manifest)
    kept = driver.memory.get("transfer_data") or {}
    driver.memory.put(transfer_data={**kept, said.dataset: data.manifest.to_json()})
    net = str(with_classes(parse(done[source][0]), said.classes))
    return [
        Final(
            id=transfer_id(said.dataset, way),
            architecture=net,
            section=training,
            rate=None,
            data=data,
            space=SearchSpace(other.space.rules(said)) if source == top_id(1) else None,
            experiment=other,
            weights=str(model.relative_to(driver.folder)) if way == FINE_TUNED else None,
        )
        for way, training in wanted.items()
        if transfer_id(said.dataset, way) not in done
    ]


def _slower(section: FinalTraining, factor: float) -> FinalTraining:
    """The same training at rates times a factor."""
    rates = tuple((epochs, rate * factor) for epochs, rate in section.rates)
    return section.model_copy(update={"base_lr": section.base_lr * factor, "rates": rates})
