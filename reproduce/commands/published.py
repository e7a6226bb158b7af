"""`metaqnn train-published`: a net of the paper's tables, from its notation, without a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reproduce.commands import arguments as args
from reproduce.commands.running import start_run
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError, Published
from reproduce.options import Options, gpu_list
from reproduce.paper import published_net

BUDGET = "top-models"


def train_published(
    net: Annotated[
        str, typer.Argument(metavar="NET", help="a row of a table, as cifar10/v1-1, mnist/thesis-2")
    ],
    preset: args.Preset = "paper",
    seed: args.Seed = args.DEFAULT_SEED,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="fewer or more than the paper's; the table says so")
    ] = None,
    run: args.RunOption = None,
    gpus: args.Gpus = "",
    threads: args.Threads = None,
    data: args.Data = args.DATA,
    cache: args.Cache = args.CACHE,
    yes: args.Yes = False,
) -> None:
    """Train a published net on all training images, and test it; the same command resumes."""
    experiment = published_experiment(net, preset, seed, epochs)
    name = f"{net.replace('/', '-')}{'' if preset == 'paper' else f'-{preset}'}"
    folder = run or Path("runs") / f"{name}{'' if epochs is None else f'-{epochs}-epochs'}"
    options = Options(data.resolve(), cache.resolve(), gpu_list(gpus), threads=threads, yes=yes)
    start_run(experiment, folder, options)


def published_experiment(net: str, preset: str, seed: int, epochs: int | None) -> Experiment:
    """The experiment that trains one published net and nothing else.

    A net whose table the experiment trains in a way of its own is trained that way; the others are
    trained as the experiment's top models.

    Raises:
        ExperimentError: if there is no such net, or the preset cannot train it.
    """
    try:
        published_net(net)
    except KeyError as error:
        raise ExperimentError(error.args[0]) from None
    path = experiment_path(net.partition("/")[0])
    experiment = load_experiment(path, BUDGET, seed, preset)
    table = net.rpartition("-")[0]
    if table == "mnist/v1" and preset != "paper":
        raise ExperimentError(f"{net}: its code was never released; train it with preset paper")
    section = next((one for one in experiment.published if one.id == net), None)
    if section is None:
        of_table = [one for one in experiment.published if one.id.rpartition("-")[0] == table]
        section = of_table[0].model_copy(update={"id": net}) if of_table else None
    if section is None:
        if experiment.final is None:
            raise ExperimentError(f"{path}: final: how {net} is to be trained is not said")
        training = experiment.final.model_dump(exclude={"top", "ensembles"})
        section = Published(**training, id=net)
    changed = {} if epochs is None else {"epochs": epochs}
    name = BUDGET if epochs in (None, section.epochs) else f"{BUDGET}, {epochs} epochs"
    only = (section.model_copy(update=changed),)
    return experiment.model_copy(update={"published": only, "budget_name": name})
