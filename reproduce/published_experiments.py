"""Experiments that train one published net and nothing else: a row of the tables, or a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prototxt_gen.shapes import ShapeError, total_cost
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError, NetFile, Published
from reproduce.pace import RunPace
from reproduce.paper import published_net
from reproduce.published_files import FILE, NetFromFile, PublishedFileError, read_net_file
from reproduce.published_solvers import (
    Solver,
    data_set_of,
    file_of,
    file_with,
    own_training,
    read_solver_file,
)

BUDGET = "top-models"
DATA_SETS = ("mnist", "cifar10", "svhn", "cifar100")


def published_experiment(
    net: str, preset: str, seed: int, epochs: int | None, solver: Path | None = None
) -> Experiment:
    """The experiment that trains a row of the tables.

    A net whose table the experiment trains in a way of its own is trained that way; the others are
    trained as the experiment's top models, or, in a preset other than the paper's, by the solver
    that was published with them.

    Raises:
        ExperimentError: if there is no such net, or the preset cannot train it.
        PublishedFileError: if the solver file cannot be kept.
    """
    try:
        published_net(net)
    except KeyError as error:
        raise ExperimentError(error.args[0]) from None
    experiment = load_experiment(experiment_path(net.partition("/")[0]), BUDGET, seed, preset)
    table = net.rpartition("-")[0]
    if table == "mnist/v1" and preset != "paper":
        raise ExperimentError(f"{net}: its code was never released; train it with preset paper")
    of_table = [one for one in experiment.published if one.id.rpartition("-")[0] == table]
    section = next((one for one in of_table if one.id == net), None)
    if section is None and table == "mnist/v1":
        section = of_table[0].model_copy(update={"id": net})
    if section is None:
        section = _section({**_as_top_model(experiment), **own_training(net, preset), "id": net})
    remarks = {}
    published = file_of(net)
    if section.iterations is not None and published is not None and published.solver is not None:
        remarks = _of_solver(published.solver, experiment, section)
    return _only(experiment, section, epochs, [], solver, remarks)


def file_experiment(
    path: Path,
    preset: str,
    seed: int,
    epochs: int | None,
    data_set: str | None = None,
    solver: Path | None = None,
) -> Experiment:
    """The experiment that trains the net of a prototxt file, its layers as they are.

    The file's training batch is kept; of one of the authors' files the published error stands
    beside the measured one.

    Args:
        path: the net's file.
        preset, seed, epochs: of the experiment of its data set.
        data_set: one of `DATA_SETS`; None takes the one that the file's content or name tells.
        solver: a solver file; None trains as the experiment's top models or, in a preset other
            than the paper's, by the solver that was published with the file.

    Raises:
        PublishedFileError: if a file cannot be read, trained or kept.
        ExperimentError: if the data set is not known, or the preset cannot train it.
    """
    net = read_net_file(path)
    known = data_set_of(net.name, net.sha256)
    if data_set is None and known is None:
        raise ExperimentError(
            f"{path}: its name tells no data set; say --data-set {'|'.join(DATA_SETS)}"
        )
    experiment = _experiment_on(data_set or str(known), preset, seed)
    data = experiment.data
    if net.architecture.classes != data.classes:
        raise PublishedFileError(
            f"{path}: it has {net.architecture.classes} classes, {data.dataset} has {data.classes}"
        )
    try:
        total_cost(net.architecture, data.image, net.padding, net.gap)
    except ShapeError as error:
        raise PublishedFileError(f"{path}: on {data.dataset}'s images, {error}") from None
    authors = file_with(net.sha256) if data.dataset == known else None
    id_ = authors.nets[0] if authors else f"{FILE}{safe(path.stem)}"
    top = _as_top_model(experiment)
    own = own_training(id_, preset) if authors else {}
    section = _section({**top, **own, **_of_file(net, top), "id": id_})
    remarks = {
        "published.file": f"{safe(net.name)}: its layers are trained as they are; its data layers "
        f"are replaced by this experiment's data, in batches of {section.batch}, its Accuracy "
        "layers by one in TEST"
    }
    if authors and authors.solver and section.iterations is not None:
        remarks |= _of_solver(authors.solver, experiment, section)
    return _only(experiment, section, epochs, [safe(net.name)], solver, remarks)


def safe(name: str) -> str:
    """A file's name as folders and tables may have it."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name)[:80]


def _experiment_on(data_set: str, preset: str, seed: int) -> Experiment:
    """A data set's experiment; CIFAR-100 is trained as CIFAR-10."""
    if data_set not in DATA_SETS:
        raise ExperimentError(f"--data-set is one of {', '.join(DATA_SETS)}, not {data_set!r}")
    if data_set != "cifar100":
        return load_experiment(experiment_path(data_set), BUDGET, seed, preset)
    like = load_experiment(experiment_path("cifar10"), BUDGET, seed, preset)
    data = like.data.model_copy(update={"dataset": data_set, "classes": 100})
    changed = {"name": data_set, "title": "CIFAR-100", "data": data, "transfer": None}
    return like.model_copy(update=changed)


def _as_top_model(experiment: Experiment) -> dict[str, Any]:
    if experiment.final is None:
        raise ExperimentError(f"{experiment.name}: final: how it is to be trained is not said")
    return experiment.final.model_dump(include=Published.model_fields.keys() - {"id", "file"})


def _of_file(net: NetFromFile, top: dict[str, Any]) -> dict[str, Any]:
    """What a net's file says of its training; dropout is in its layers."""
    return {
        "file": NetFile(name=net.name, sha256=net.sha256, prototxt=net.prototxt),
        "padding": net.padding,
        "activation": net.activation,
        "gap": net.gap,
        "dropout_ratios": (),
        "batch": net.batch or top["batch"],
    }


def _section(fields: dict[str, Any], where: str = "published") -> Published:
    try:
        return Published.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ExperimentError(f"{where}: {place}: {first['msg']}") from None


def _only(
    experiment: Experiment,
    section: Published,
    epochs: int | None,
    names: list[str],
    solver: Path | None,
    remarks: dict[str, str],
) -> Experiment:
    """The experiment with one net to train, by another solver and for other epochs where asked."""
    if solver is not None:
        epoch = max(1, RunPace(experiment).final_images(section) // section.batch)
        said = read_solver_file(solver, epoch)
        section = _section({**dict(section), **said.training()}, str(solver))
        remarks = {**remarks, **_of_solver(said, experiment, section)}
        names = [*names, safe(solver.name)]
    if epochs not in (None, section.epochs):
        names = [*names, f"{epochs} epochs"]
        section = section.model_copy(update={"epochs": epochs})
    changed = {
        "published": (section,),
        "budget_name": ", ".join([BUDGET, *names]),
        "unstated": {**experiment.unstated, **remarks},
    }
    return experiment.model_copy(update=changed)


def _of_solver(solver: Solver, experiment: Experiment, section: Published) -> dict[str, str]:
    """What is kept of a solver file, and what is not."""
    said = (
        f"{safe(solver.source.rpartition('/')[2])}: {solver.type}, rate {solver.base_lr:g}, weight "
        f"decay {solver.weight_decay:g}, its schedule and its {solver.max_iter:,} iterations are "
        f"kept; its paths, snapshots and random_seed are not"
    )
    if solver.test_interval != solver.asked_interval:
        asked = "nothing" if solver.asked_interval is None else f"{solver.asked_interval:,}"
        said += f"; tests every {solver.test_interval:,} iterations, where it says {asked}"
    images = experiment.data.test_images
    if solver.test_iter != images // section.test_batch:
        said += (
            f"; each test takes all {images:,} test images, {section.test_batch} at a time, in "
            f"place of test_iter {solver.test_iter or 'of none'}"
        )
    return {"published.solver": said}
