"""What final trainings need, checked before a search is spent on them; and what they cost."""

from __future__ import annotations

from dataclasses import replace

from prototxt_gen.notation import parse
from prototxt_gen.shapes import ShapeError
from reproduce.before_search import LONGEST_UNASKED_S
from reproduce.display import duration
from reproduce.driver import Driver
from reproduce.estimate import training_flop
from reproduce.experiments.schema import Experiment, FinalTraining, Published
from reproduce.nets import BatchError, PreparedData, final_plan
from reproduce.pace import PREFLIGHT
from reproduce.run import RunError
from reproduce.training.executors import Job, local_slots
from reproduce.training.preflight import Preflight, preflight
from reproduce.training.ray_executor import RayExecutor


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
        driver.display.line("Trainer check: one iteration, a snapshot, resumed, tested")
        measured = _preflight(driver, replace(job, folder=driver.folder / "preflight"), data)
        known = {
            "device": device,
            "flop_per_second": training_flop(work) / measured.seconds_per_iteration,
            "startup_seconds": measured.startup_seconds,
            "accepted": False,  # of a search
        }
        driver.memory.put(**{PREFLIGHT: known})
    driver.pace.calibrate(known["startup_seconds"], known["flop_per_second"])


def _preflight(driver: Driver, job: Job, data: PreparedData) -> Preflight:
    if driver.options.executor == "ray":
        with driver.executor(data) as executor:
            if isinstance(executor, RayExecutor):
                return executor.check(job)
    slot = local_slots(driver.options.gpus, threads=driver.options.threads)[0]
    caffe = slot.caffe(job.caffe)
    return preflight(job.folder, job.run_folder, job.net_text, job.recipe, caffe)


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
