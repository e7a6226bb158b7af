"""What a search will cost, told before it starts: models, FLOP, time on this device, disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prototxt_gen.notation import Architecture
from prototxt_gen.shapes import NetCost, total_cost
from reproduce.experiments.schema import Experiment
from reproduce.search.agent import Agent

PROCESSES = 2
"""Processes that train a net which is not restarted: one for its first epoch, one for the rest."""

SAMPLES = 1000  # costs are so skewed that the mean of so many is uncertain by 5 %
_LOG_BYTES = 150_000  # of a trial: its prototxts, and what Caffe says before it trains
_LOG_BYTES_PER_LINE = 300  # of each display: loss, output, learning rate
_BYTES_PER_PARAMETER = 4
_SNAPSHOT_COPIES = 3  # the weights and Adam's two moments


@dataclass(frozen=True)
class SampledNet:
    """An architecture that the agent could sample at ε = 1, and its cost for one image."""

    architecture: Architecture
    cost: NetCost


def typical_nets(experiment: Experiment, agent: Agent) -> list[SampledNet]:
    """Distinct nets sampled at ε = 1, by rising cost; the search's random state is left alone."""
    rng = np.random.default_rng([experiment.seed, SAMPLES])
    found: dict[str, Architecture] = {}
    for _ in range(4 * SAMPLES):  # a capped space may have fewer
        architecture = agent.sample(rng, 1.0).architecture
        found.setdefault(str(architecture), architecture)
        if len(found) == SAMPLES:
            break
    style, image = experiment.exploration, experiment.data.image
    nets = [
        SampledNet(net, total_cost(net, image, style.padding, style.gap)) for net in found.values()
    ]
    return sorted(nets, key=lambda net: net.cost.macs)


def training_flop(macs: float) -> float:
    """Floating-point operations to train on one image, from its forward multiply-accumulates.

    Two for each MAC, in the forward pass and for the gradients of weights and of data.
    """
    return 6 * macs


ASSUMED_STARTUP_S = 3.0
ASSUMED_FLOP_PER_SECOND = {"CPU": 1e11, "GPU": 1e13}
"""What is assumed where nothing is measured: of each CPU (fp32 with AVX2), of each GPU of today."""


@dataclass(frozen=True)
class Estimate:
    """A search's cost, if its nets are like those sampled at ε = 1; later ones are larger.

    Attributes:
        models: distinct nets to train.
        epochs, images: of each net, and training images of each epoch.
        flop: training in all, restarts left out.
        disk_bytes: the most that the run's folder will hold.
    """

    models: int
    epochs: int
    images: int
    flop: float
    disk_bytes: int

    def seconds(self, flop_per_second: float, startup_seconds: float, slots: int) -> float:
        """Time where so many trials at a time have this speed each; every process has its start."""
        starts = PROCESSES * self.models * startup_seconds
        return (self.flop / flop_per_second + starts) / slots


def estimate(experiment: Experiment, nets: list[SampledNet], slots: int) -> Estimate:
    """Estimate a search from nets that its agent sampled."""
    models = sum(stage.models for stage in experiment.q_learning.stages)
    training = experiment.exploration
    images, epochs = experiment.train_images, training.epochs
    macs = sum(net.cost.macs for net in nets) / len(nets)
    parameters = [net.cost.parameters for net in nets]
    mean = sum(parameters) / len(parameters)
    lines = images // training.batch * epochs // 100 + epochs
    snapshot = _SNAPSHOT_COPIES * _BYTES_PER_PARAMETER * max(parameters)
    disk = models * (_LOG_BYTES + _LOG_BYTES_PER_LINE * lines)
    disk += slots * 2 * snapshot  # while one is written the one before it is still there
    disk += int(min(models, training.keep_models) * mean * _BYTES_PER_PARAMETER)
    return Estimate(models, epochs, images, training_flop(macs) * images * epochs * models, disk)
