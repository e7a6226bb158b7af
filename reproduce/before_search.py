"""What happens before a search trains its first net: the estimate, and a check of its trainer."""

from __future__ import annotations

import shutil

from reproduce.display import duration
from reproduce.driver import Driver
from reproduce.estimate import Estimate, SampledNet, estimate, training_flop, typical_nets
from reproduce.nets import exploration_plan
from reproduce.pace import PREFLIGHT
from reproduce.run import RunError
from reproduce.training.executors import local_slots
from reproduce.training.preflight import Preflight, preflight

LONGEST_UNASKED_S = 30 * 86400.0
"""A search that will take longer starts only where the user says so."""


def check_before_search(driver: Driver) -> None:
    """Say what the search will cost, and show that its trainer works; once for each run and device.

    The chosen Caffe trains one iteration of a net of middling cost, snapshots, resumes and tests;
    its speed tells how long the search will take.

    Raises:
        RunError: if that is longer than 30 days, unless `options.yes`.
        PreflightError: if the trainer does not work.
    """
    stages = driver.experiment.q_learning.stages
    models = sum(stage.models for stage in stages)
    trained = sum(driver.memory.unique_per_epsilon().values())
    known = driver.memory.get(PREFLIGHT)
    if known is not None and known["device"] != driver.options.device:
        known = None
    if known is not None:
        driver.pace.calibrate(known["startup_seconds"], known["flop_per_second"])
    if trained >= models or (known is not None and known["accepted"]):
        return
    nets = typical_nets(driver.experiment, driver.agent)
    slots = driver.options.local_slots
    cost = estimate(driver.experiment, nets, slots)
    driver.display.line(f"Estimate: {_in_words(cost)}")
    _check_disk(driver, cost)
    if driver.options.executor == "ray":
        driver.display.line("    on a cluster, the first trials tell how long that takes")
        return
    if known is None:
        net = nets[len(nets) // 2]
        measured = _preflight(driver, net)
        work = training_flop(net.cost.macs) * driver.experiment.exploration.batch
        known = {
            "device": driver.options.device,
            "flop_per_second": work / measured.seconds_per_iteration,
            "startup_seconds": measured.startup_seconds,
            "accepted": False,
        }
        driver.memory.put(**{PREFLIGHT: known})
        driver.pace.calibrate(known["startup_seconds"], known["flop_per_second"])
    seconds = cost.seconds(known["flop_per_second"], slots)
    driver.display.line(
        f"    about {duration(seconds)} on {driver.options.device} at "
        f"{known['flop_per_second'] / 1e9:.3g} GFLOP/s a trial, {slots} at a time; "
        "later nets are larger than those at ε = 1"
    )
    if seconds > LONGEST_UNASKED_S and not driver.options.yes:
        raise RunError(
            f"the search would take about {duration(seconds)}: give YES=1 (--yes) to start it all "
            "the same, or a smaller BUDGET, or more devices"
        )
    driver.memory.put(**{PREFLIGHT: {**known, "accepted": True}})


def _preflight(driver: Driver, net: SampledNet) -> Preflight:
    slot = local_slots(driver.options.gpus, threads=driver.options.threads)[0]
    plan = exploration_plan(driver.experiment, driver.agent.space, driver.data, net.architecture, 0)
    driver.display.line("Trainer check: one iteration, a snapshot, resumed, tested")
    return preflight(
        driver.folder / "preflight",
        driver.folder,
        plan.net,
        plan.recipe,
        slot.caffe(driver.caffe),
    )


def _check_disk(driver: Driver, cost: Estimate) -> None:
    free = shutil.disk_usage(driver.folder).free
    if free < cost.disk_bytes:
        driver.display.line(
            f"    the disk of {driver.folder} has {in_bytes(free)} free, the search may need "
            f"{in_bytes(cost.disk_bytes)}; on a full disk it stops, and goes on when there is space"
        )


def _in_words(cost: Estimate) -> str:
    return (
        f"{cost.models:,} models, {cost.epochs} epochs of {cost.images:,} images each: "
        f"{cost.flop:.2g} FLOP, up to {in_bytes(cost.disk_bytes)} of disk"
    )


def in_bytes(count: float) -> str:
    """Bytes as a reader says them: 51 MB, 2.8 TB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
