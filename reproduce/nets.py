"""From an experiment to what one trial needs: the net's prototxt and its training recipe."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data_prep.manifest import Manifest
from prototxt_gen.dropout import place_dropout
from prototxt_gen.net import DataSource, NetStyle, net_text
from prototxt_gen.notation import Architecture, Dropout, GlobalAveragePooling
from prototxt_gen.read import dropouts
from prototxt_gen.shapes import GapForm, ShapeError
from reproduce.experiments.schema import (
    Experiment,
    FinalTraining,
    Iterations,
    Optimizer,
    Published,
    Style,
)
from reproduce.published_files import with_data
from reproduce.search.space import SearchSpace
from reproduce.training.rate_schedule import multistep, rescaled, scaled
from reproduce.training.recipe import Recipe


class BatchError(ValueError):
    """A batch size does not fit the data; the message names it and what would fit."""


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set and where it lies, as seen from a run's folder."""

    manifest: Manifest
    folder: str

    @classmethod
    def beside(cls, run_folder: Path, data: Path, manifest: Manifest) -> PreparedData:
        """Data prepared in `data`; paths relative to the run, so that both can be moved."""
        return cls(manifest, os.path.relpath(data / manifest.folder, run_folder))

    def path(self, name: str) -> str:
        """A file of the prepared folder, as seen from the run's folder."""
        return f"{self.folder}/{name}"

    def records(self, database: str) -> int:
        """Images in a database."""
        return self.manifest.databases[database].records


def _source(
    experiment: Experiment, data: PreparedData, optimizer: Optimizer, *, mirror: bool, final: bool
) -> DataSource:
    train, test, mean = ("train_full", "test", "mean_full") if final else ("train", "val", "mean")
    _, side, _ = experiment.data.image
    padded = data.manifest.databases[train].shape[1] > side
    databases, means = data.manifest.databases, data.manifest.means
    scale = experiment.data.scale
    return DataSource(
        train=data.path(databases[train].path),
        test=data.path(databases[test].path),
        train_batch=optimizer.batch,
        test_batch=optimizer.test_batch,
        mean_file=data.path(means[mean].path) if experiment.data.mean == "image" else None,
        scale=None if scale == 1 else scale,
        mirror=mirror,
        crop_size=side if padded else None,
    )


def _recipe(
    optimizer: Optimizer, train_images: int, test_images: int, seed: int, **rest: object
) -> Recipe:
    if test_images % optimizer.test_batch:
        raise BatchError(
            f"test_batch {optimizer.test_batch} must divide the {test_images} images tested"
        )
    if optimizer.batch > train_images:
        raise BatchError(f"batch {optimizer.batch} is larger than the {train_images} images")
    hours = optimizer.timeout_hours
    fields: dict[str, object] = {
        "timeout_s": None if hours is None else 3600 * hours,
        "epochs": optimizer.epochs,
        # A last, partial batch is left out, as in the released code.
        "iterations_per_epoch": train_images // optimizer.batch,
        "test_iter": test_images // optimizer.test_batch,
        "base_lr": optimizer.base_lr,
        "solver_type": optimizer.solver,
        "lr_policy": "step",
        "gamma": optimizer.lr_gamma,
        "step_epochs": optimizer.lr_step_epochs,
        "momentum": optimizer.momentum,
        "weight_decay": optimizer.weight_decay,
        "random_seed": seed,
    }
    if optimizer.solver == "Adam":
        fields |= {"momentum2": optimizer.momentum2, "delta": optimizer.delta}
    return Recipe(**(fields | rest))  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrialPlan:
    """What to train: the net's prototxt and how."""

    net: str
    recipe: Recipe


def _net(
    experiment: Experiment,
    architecture: Architecture,
    style: Style,
    source: DataSource,
    gap_kernel: int | None = None,
    head: str = "",
) -> str:
    return net_text(
        _with_dropout(architecture, style),
        experiment.data.image,
        source,
        NetStyle(style.padding, style.activation, style.gap, gap_kernel, head=head),
        name=str(architecture.without_dropout()),
    )


def _with_dropout(architecture: Architecture, style: Style) -> Architecture:
    """The architecture with dropout placed by the style's rule, in its own ratios if it has any."""
    placed = place_dropout(architecture, style.dropout)
    ratios = style.dropout_ratios if isinstance(style, FinalTraining) else ()
    if not ratios:
        return placed
    count = sum(isinstance(layer, Dropout) for layer in placed)
    if count != len(ratios):
        raise ShapeError(f"{architecture} has {count} dropout layers, not {len(ratios)}")
    own = iter(dropouts(ratios))
    return Architecture(tuple(next(own) if isinstance(x, Dropout) else x for x in placed))


def _gap_kernel(space: SearchSpace, architecture: Architecture) -> int | None:
    """The R-size, in the agent's eyes, of what GAP averages: the released code's window."""
    walk = space.walk(architecture)
    for layer, (node, _) in zip(architecture.without_dropout(), walk, strict=False):
        if isinstance(layer, GlobalAveragePooling):
            return space.nodes[node].size
    return None


def exploration_plan(
    experiment: Experiment,
    space: SearchSpace,
    data: PreparedData,
    architecture: Architecture,
    seed: int,
) -> TrialPlan:
    """How a sampled architecture is trained (section 5); `space` is where it was sampled."""
    section = experiment.exploration
    recipe = _recipe(
        section,
        data.records("train"),
        data.records("val"),
        seed,
        chance_accuracy=section.restarts.chance,
        restart_factor=section.restarts.factor,
        max_restarts=section.restarts.most,
        rate_decimals=section.restarts.decimals,
        retries=section.retries,
        keep_model=section.keep_models > 0,
    )
    source = _source(experiment, data, section, mirror=section.mirror, final=False)
    kernel = _gap_kernel(space, architecture) if section.gap is GapForm.RELEASED else None
    return TrialPlan(_net(experiment, architecture, section, source, kernel), recipe)


def _phases(section: FinalTraining) -> dict[str, object]:
    """The recipe's fields of a schedule of learning rates in phases, or in iterations."""
    if section.iterations is not None:
        return _iterations(section.iterations, section.epochs)
    if not section.rates:
        return {}
    rates = multistep(scaled(section.rates, section.epochs))
    if not rates.step_epochs:
        return {"base_lr": rates.base_lr, "lr_policy": "fixed", "gamma": None, "step_epochs": None}
    return {
        "base_lr": rates.base_lr,
        "lr_policy": "multistep",
        "gamma": rates.gamma,
        "step_epochs": None,
        "multistep_epochs": rates.step_epochs,
    }


def _iterations(schedule: Iterations, epochs: int) -> dict[str, object]:
    """The recipe's fields of a published solver's schedule, over so many of its test intervals."""
    whole, last = schedule.max_iter, epochs * schedule.test_interval
    fields = {"iterations_per_epoch": schedule.test_interval, "step_epochs": None}
    if schedule.stepsize is not None:
        (step,) = rescaled([schedule.stepsize], whole, last)
        return {**fields, "lr_policy": "step", "step_iterations": step}
    if not schedule.stepvalues:
        return {**fields, "lr_policy": "fixed", "gamma": None}
    steps = rescaled(schedule.stepvalues, whole, last)
    return {**fields, "lr_policy": "multistep", "multistep_iterations": steps}


def final_plan(
    experiment: Experiment,
    data: PreparedData,
    architecture: Architecture,
    section: FinalTraining,
    learning_rate: float | None,
    space: SearchSpace | None = None,
    head: str = "",
    *,
    tuning: bool = False,
) -> TrialPlan:
    """How a net is trained on all training images and tested on the test set.

    With `tuning`, on the training part, and tested on the validation part; its weights are not
    kept.

    `space` is where the net was sampled, None for a published one: the released form of GAP
    averages over the window that the agent sees there.

    `head` ends the names of the layers that score the classes (`NetStyle`).

    A net from a file keeps the layers of its file, whatever `architecture` is.

    `learning_rate` replaces the section's where the search found that a net needs another; a
    schedule in phases keeps its own.
    """
    if learning_rate is not None:
        section = section.model_copy(update={"base_lr": learning_rate})
    recipe = _recipe(
        section,
        data.records("train" if tuning else "train_full"),
        data.records("val" if tuning else "test"),
        experiment.seed,
        keep_model=not tuning,
        retries=experiment.exploration.retries,
        **_phases(section),
    )
    source = _source(experiment, data, section, mirror=section.mirror, final=not tuning)
    if isinstance(section, Published) and section.file is not None:
        return TrialPlan(with_data(section.file.prototxt, source), recipe)
    released = space is not None and section.gap is GapForm.RELEASED
    kernel = _gap_kernel(space, architecture) if space is not None and released else None
    return TrialPlan(_net(experiment, architecture, section, source, kernel, head), recipe)
