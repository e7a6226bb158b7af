"""What final trainings need, checked before a search is spent on them; and what they cost."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from prototxt_gen.notation import parse
from prototxt_gen.shapes import ShapeError
from reproduce.before_search import LONGEST_UNASKED_S, check_trainer
from reproduce.display import duration
from reproduce.driver import Driver
from reproduce.estimate import training_flop
from reproduce.experiments.schema import Experiment, FinalTraining, Published
from reproduce.nets import BatchError, PreparedData, final_plan
from reproduce.options import Options
from reproduce.pace import PREFLIGHT
from reproduce.run import RunError
from reproduce.training.executors import Job, Slot, local_slots


def final_sections(experiment: Experiment) -> dict[str, FinalTraining]:
    """How each of an experiment's final trainings trains: those of its published nets, by id, and
    `final`, that of the search's top models."""
    sections: dict[str, FinalTraining] = {net.id: net for net in experiment.published}
    if experiment.final is not None and experiment.q_learning.stages:
        sections["final"] = experiment.final
    return sections


def check_before_finals(driver: Driver) -> None:
    """Find the files of the final trainings' data, and that their batches and nets fit.

    Nothing is fetched or prepared. The nets of a search to come are not known, their batches are.

    Raises:
        DataError: if the user's folder lacks a file.
        BatchError: if a batch does not fit the images.
        ShapeError: if a published net does not fit them.
    """
    experiment = driver.experiment
    sections = final_sections(experiment)
    for recipe in dict.fromkeys(map(experiment.recipe_of, sections.values())):
        if recipe is not None:
            driver.locate(recipe)
    for name, section in sections.items():
        smallest = f"[SM({experiment.data.classes})]"
        net = section.net.notation if isinstance(section, Published) else smallest
        try:  # other preparations have the same test images
            final_plan(experiment, driver.data, parse(net), section, None)
            if section is experiment.final and experiment.grid:
                final_plan(experiment, driver.data, parse(net), section, None, tuning=True)
        except (BatchError, ShapeError) as error:
            raise type(error)(f"{name}: {error}") from None


def measure_pace(driver: Driver, job: Job, data: PreparedData, work: float) -> None:
    """Show that the trainer works and take up its speed, unless that is known of this device.

    `job` is the final training of a net whose iteration has so much `work`: forward
    multiply-accumulates × images.

    Raises:
        PreflightError: if the trainer does not work.
        RayError: if the cluster cannot be had, or the node cannot train.
    """
    device, known = driver.options.device, driver.memory.get(PREFLIGHT)
    if known is None or known["device"] != device:
        job = replace(job, folder=driver.folder / "preflight")
        with driver.executor(data) if driver.options.executor == "ray" else nullcontext() as ray:
            measured = check_trainer(driver, job, ray, final_slot(driver.options))
        known = {
            "device": device,
            "flop_per_second": training_flop(work) / measured.seconds_per_iteration,
            "startup_seconds": measured.startup_seconds,
            "accepted": False,  # of a search
        }
        driver.memory.put(**{PREFLIGHT: known})
    driver.pace.calibrate(known["startup_seconds"], known["flop_per_second"])


def final_slot(options: Options) -> Slot:
    """Where this machine trains one net at a time."""
    return local_slots(options.gpus, threads=options.threads)[0]


def check_cost(driver: Driver, seconds: float) -> None:
    """Say how long the final trainings take.

    Raises:
        RunError: if that is longer than 30 days, unless `options.yes`.
    """
    driver.display.line(f"Final trainings: about {duration(seconds)} on {driver.options.device}")
    if seconds > LONGEST_UNASKED_S and not driver.options.yes:
        raise RunError(
            f"the final trainings would take about {duration(seconds)}: give YES=1 (--yes) to "
            "start them all the same, or fewer epochs, or a faster device"
        )
