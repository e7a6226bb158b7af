"""What training each published net costs, and the command that does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prototxt_gen.notation import parse
from prototxt_gen.shapes import total_cost
from reproduce.estimate import training_flop
from reproduce.experiments.schema import Experiment, ExperimentError, Published
from reproduce.pace import PREFLIGHT, RunPace
from reproduce.paper import NETS, PublishedNet
from reproduce.published_experiments import published_experiment
from reproduce.published_solvers import file_of
from reproduce.run import REPLAY_MEMORY
from reproduce.search.replay_memory import ReplayMemoryError, read_replay_memory


@dataclass(frozen=True)
class Speed:
    """How fast a device trains, as a run has measured it."""

    run: str
    flop_per_second: float
    startup_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class PublishedCost:
    """A published net and what its training costs under a preset.

    Attributes:
        id, place, error, stated_parameters: as published, error in percent, parameters in millions.
        architecture: in the paper's notation.
        parameters: what Caffe allocates.
        macs: forward multiply-accumulates for one image.
        preset: the preset that trains it.
        solver: the published file that it is trained by, or `section 5` or `preset` otherwise.
        epochs: as a table counts them.
        flop: of the whole training.
        hours: on the device whose speed is known, else None.
        command: what trains it.
    """

    id: str
    place: str
    error: float | None
    stated_parameters: float | None
    architecture: str
    parameters: int
    macs: int
    preset: str
    solver: str
    epochs: int
    flop: float
    hours: float | None
    command: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measured_speed(runs: Path, device: str) -> Speed | None:
    """The speed of a device, from the newest run that has measured it; None if none has."""
    try:
        memories = sorted(runs.glob(f"*/{REPLAY_MEMORY}"), key=lambda path: -path.stat().st_mtime)
    except OSError:
        return None
    for path in memories:
        try:
            with read_replay_memory(path) as memory:
                known = memory.get(PREFLIGHT)
        except (ReplayMemoryError, OSError):
            continue  # it tells its own user
        if known is not None and known.get("device") == device:
            return Speed(str(path.parent), known["flop_per_second"], known["startup_seconds"])
    return None


def published_costs(
    data_set: str | None, preset: str, speed: Speed | None = None, options: str = ""
) -> list[PublishedCost]:
    """The published nets of a data set, or all, by rising cost under a preset.

    The first version's MNIST nets, whose code was never released, are trained by the paper's.
    `options` ends each command.

    Raises:
        ExperimentError: if there are no nets of this data set, or no such preset.
    """
    known = dict.fromkeys(net.id.partition("/")[0] for net in NETS)
    if data_set is not None and data_set not in known:
        raise ExperimentError(f"no published nets of {data_set!r}; there are: {', '.join(known)}")
    rows = [
        _cost(net, preset, speed, options)
        for net in NETS
        if data_set in (None, net.id.partition("/")[0])
    ]
    return sorted(rows, key=lambda row: row.flop)


def _cost(net: PublishedNet, preset: str, speed: Speed | None, options: str) -> PublishedCost:
    preset = "paper" if net.id.startswith("mnist/v1-") else preset
    experiment = published_experiment(net.id, preset, 0, None)
    (section,) = experiment.published
    cost = total_cost(parse(net.notation), experiment.data.image, section.padding, section.gap)
    flop = training_flop(cost.macs) * images_trained_on(experiment, section)
    hours = None
    if speed is not None:
        hours = (flop / speed.flop_per_second + speed.startup_seconds) / 3600
    published = file_of(net.id) if section.iterations is not None else None
    chosen = "" if preset == "paper" else f" --preset {preset}"
    return PublishedCost(
        id=net.id,
        place=net.place,
        error=net.error,
        stated_parameters=net.parameters,
        architecture=net.notation,
        parameters=cost.parameters,
        macs=cost.macs,
        preset=preset,
        solver=f"{published.name}, its own" if published else f"as preset {preset}",
        epochs=section.epochs,
        flop=flop,
        hours=hours,
        command=f"metaqnn train-published {net.id}{chosen}{options}",
    )


def images_trained_on(experiment: Experiment, section: Published) -> int:
    """Images of all iterations of a training; a last, partial batch of an epoch is left out."""
    images = section.epoch_images(RunPace(experiment).final_images(section))
    return section.epochs * (images // section.batch * section.batch)
