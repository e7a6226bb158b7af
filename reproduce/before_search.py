"""What happens before a search trains its first net: the estimate, and a check of its trainer."""

from __future__ import annotations

import shutil
from typing import Any

from reproduce.display import duration
from reproduce.driver import Driver
from reproduce.estimate import Estimate, SampledNet, estimate, training_flop, typical_nets
from reproduce.nets import exploration_plan
from reproduce.options import Options
from reproduce.pace import PREFLIGHT
from reproduce.run import RunError
from reproduce.training.executors import Executor, Job, Slot, local_slots
from reproduce.training.preflight import Preflight, preflight
from reproduce.training.ray_executor import RayExecutor

LONGEST_UNASKED_S = 30 * 86400.0
"""A search that will take longer starts only where the user says so."""


def check_before_search(driver: Driver) -> None:
    """Say what the search will cost, and show that its trainer works; once for each run and place.

    The chosen Caffe trains one iteration of a net of middling cost, snapshots, resumes and tests,
    as a trial will: with its threads, on a cluster on one of its nodes. Its speed tells how long
    the search will take; trials that share a GPU are taken to share its speed.

    Raises:
        ExecutorError: if the options name slots that cannot be had.
        RunError: if that is longer than 30 days, unless `options.yes`.
        PreflightError: if the trainer does not work.
        RayError: if the cluster cannot be had, or the node cannot train.
    """
    stages = driver.experiment.q_learning.stages
    models, trained = sum(stage.models for stage in stages), driver.memory.unique_per_epsilon()
    left = sum(max(0, stage.models - trained.get(stage.epsilon, 0)) for stage in stages)
    place, known = _place(driver.options), driver.memory.get(PREFLIGHT)
    if known is not None and not place.items() <= known.items():
        known = None
    if known is not None:
        driver.pace.calibrate(known["startup_seconds"], known["flop_per_second"])
    if left == 0 or (known is not None and known["accepted"]):
        return
    nets = typical_nets(driver.experiment, driver.agent)
    with driver.executor() as executor:
        slots = executor.slots
        cost = estimate(driver.experiment, nets, slots)
        driver.display.line(f"Estimate: {in_words(cost)}")
        _check_disk(driver, cost)
        if known is None:
            net = nets[len(nets) // 2]
            measured = _preflight(driver, executor, net)
            work = training_flop(net.cost.macs) * driver.experiment.exploration.batch
            known = {
                **place,
                "flop_per_second": work / measured.seconds_per_iteration / _sharing(driver.options),
                "startup_seconds": measured.startup_seconds,
                "accepted": False,
            }
            driver.memory.put(**{PREFLIGHT: known})
            driver.pace.calibrate(known["startup_seconds"], known["flop_per_second"])
    seconds = cost.seconds(known["flop_per_second"], known["startup_seconds"], slots)
    seconds *= left / models
    which = f" for the {left:,} of {models:,} models left" if left < models else ""
    driver.display.line(
        f"    about {duration(seconds)}{which} on {driver.options.device} at "
        f"{known['flop_per_second'] / 1e9:.3g} GFLOP/s a trial, {slots} at a time; "
        "later nets are larger than those at ε = 1"
    )
    if seconds > LONGEST_UNASKED_S and not driver.options.yes:
        raise RunError(
            f"the search would take about {duration(seconds)}{which}: give YES=1 (--yes) to start "
            "it all the same, or a smaller BUDGET, or more devices"
        )
    driver.memory.put(**{PREFLIGHT: {**known, "accepted": True}})


def _preflight(driver: Driver, executor: Executor, net: SampledNet) -> Preflight:
    plan = exploration_plan(driver.experiment, driver.agent.space, driver.data, net.architecture, 0)
    folder, run = driver.folder / "preflight", driver.folder
    job = Job("preflight", folder, run, plan.net, plan.recipe, driver.caffe)
    return check_trainer(driver, job, executor, _slots(driver.options)[0])


def check_trainer(driver: Driver, job: Job, executor: Executor | None, slot: Slot) -> Preflight:
    """Show that the trainer works on a job: on a node of the executor's cluster, else in `slot`."""
    driver.display.line("Trainer check: one iteration, a snapshot, resumed, tested")
    if isinstance(executor, RayExecutor):
        return executor.check(job)
    caffe = slot.caffe(job.caffe)
    return preflight(job.folder, job.run_folder, job.net_text, job.recipe, caffe)


def _slots(options: Options) -> list[Slot]:
    return local_slots(options.gpus, options.slots_per_gpu, options.cpu_slots, options.threads)


def _place(options: Options) -> dict[str, Any]:
    """What a trial's speed depends on; it is kept beside the speed."""
    if options.executor == "ray":
        return {"device": options.device}
    slots = _slots(options)
    return {"device": options.device, "slots": len(slots), "threads": slots[0].threads}


def _sharing(options: Options) -> int:
    """How many trials share the device that the check has alone."""
    return options.slots_per_gpu if options.executor == "local" and options.gpus else 1


def _check_disk(driver: Driver, cost: Estimate) -> None:
    free = shutil.disk_usage(driver.folder).free
    if free < cost.disk_bytes:
        driver.display.line(
            f"    the disk of {driver.folder} has {in_bytes(free)} free, the search may need "
            f"{in_bytes(cost.disk_bytes)}; on a full disk it stops, and goes on when there is space"
        )


def in_words(cost: Estimate) -> str:
    """A search's cost but for its time, which depends on where it runs."""
    return (
        f"{cost.models:,} models, {cost.epochs} epochs of {cost.images:,} images each: "
        f"{cost.flop:.2g} FLOP, up to {in_bytes(cost.disk_bytes)} of disk"
    )


def in_bytes(count: float) -> str:
    """Bytes as a reader says them, in three digits: 51 MB, 2.8 TB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB" if count < 999.5 else f"{count:,.0f} TB"
