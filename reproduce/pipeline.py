"""`metaqnn search` and `metaqnn reproduce`: each step resumable by the same command."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from reproduce.audit.page_rows import audit_of
from reproduce.before_finals import check_before_finals
from reproduce.before_search import check_before_search
from reproduce.display import Display
from reproduce.driver import Driver, agent_of, kept_by_cap
from reproduce.experiments.schema import Experiment
from reproduce.finals import train_finals
from reproduce.options import Options
from reproduce.results.report import write_report
from reproduce.rivals.surrogate.choice import NO_FINALS, check_choice, surrogate_caffe
from reproduce.rivals.surrogate.searching import search_by_surrogate
from reproduce.run import REPLAY_MEMORY, RunError, freeze, locked
from reproduce.search.replay_memory import ReplayMemory, ReplayMemoryError, read_replay_memory
from reproduce.training.caffe import find_caffe
from reproduce.transfer import transfer


def drive(
    experiment: Experiment,
    run_folder: Path,
    options: Options,
    environment: Mapping[str, str],
    console: Console,
) -> Path | None:
    """Run or resume an experiment: its search and, if `options.finals`, what follows it.

    Args:
        experiment: what to run.
        run_folder: where it is kept; a finished step found there is not done again.
        options: where files lie and what trains at a time.
        environment: unless `options` choose the surrogate, CAFFE names the trainer, CAFFE_STOP
            what stops it where it is remote, DATA_DIR the user's own files.
        console: where progress goes.

    Returns:
        The report's page; None after a search alone.

    Raises:
        RunError, CaffeError, CostCapError, DataError, BatchError, ShapeError, PreflightError,
            TrainerBrokenError: one line each, nothing lost. A final training that failed raises
            RunError after the report.
    """
    if not experiment.q_learning.stages and not experiment.published:
        raise RunError(
            f"{experiment.title}, preset {experiment.preset}: budget {experiment.budget_name} has "
            "no search and names no net; `metaqnn published` lists nets and their commands"
        )
    predicted = options.trainer == "surrogate"
    if predicted:
        check_choice(experiment, options)
    with _driving(experiment, run_folder, options, environment, console) as driver:
        if predicted:
            if experiment.q_learning.stages:
                search_by_surrogate(driver)
            return None
        driver.prepare(environment.get("DATA_DIR"))
        if options.finals:
            check_before_finals(driver)
        if experiment.q_learning.stages:
            check_before_search(driver)
            driver.search()
        if not options.finals:
            return None
        return _reported(driver, train_finals(driver))


def drive_transfer(
    experiment: Experiment,
    run_folder: Path,
    datasets: Sequence[str],
    options: Options,
    environment: Mapping[str, str],
    console: Console,
) -> Path:
    """Train a finished run's best net on other data sets (Table 5); returns the report's page.

    The arguments are `drive`'s and `transfer`'s, so are the errors.
    """
    with _driving(
        experiment, run_folder, options, environment, console, keep_options=False
    ) as driver:
        return _reported(driver, transfer(driver, datasets, environment.get("DATA_DIR")))


def _reported(driver: Driver, failures: Sequence[str]) -> Path:
    folder, audit = driver.folder, audit_of(driver.folder)
    page = write_report(driver.experiment, driver.memory, folder / "report", audit=audit)
    if failures:
        raise RunError(f"{'; '.join(failures)}; the same command tries again")
    return page


@contextmanager
def _driving(
    experiment: Experiment,
    run_folder: Path,
    options: Options,
    environment: Mapping[str, str],
    console: Console,
    *,
    keep_options: bool = True,
) -> Iterator[Driver]:
    """A run's driver, with the run locked, its record open and a display."""
    agent = agent_of(experiment)
    kept = None if _is_started(run_folder) else kept_by_cap(experiment, agent)
    with _interruptible(), locked(run_folder):
        freeze(experiment, run_folder)
        if options.trainer == "surrogate":
            caffe = surrogate_caffe(experiment, options)
        else:
            caffe = find_caffe(environment, run_folder)
        if caffe.kind == "surrogate" and options.finals:
            raise RunError(f"{caffe}: {NO_FINALS}")
        memory = ReplayMemory(run_folder / REPLAY_MEMORY)
        try:
            with Display(console) as display:
                driver = Driver(experiment, run_folder, memory, caffe, options, display, agent)
                driver.announce(kept, keep_options=keep_options)
                yield driver
        except KeyboardInterrupt:
            raise RunError("interrupted; the same command goes on from here") from None
        finally:
            memory.close()


def _is_started(run_folder: Path) -> bool:
    """Whether a run has its first record, so that what is computed but once need not be again."""
    path = run_folder / REPLAY_MEMORY
    if not path.exists():
        return False
    try:
        with read_replay_memory(path) as memory:
            return memory.get("trainer") is not None
    except ReplayMemoryError:  # killed while it was made
        return False


@contextmanager
def _interruptible() -> Iterator[None]:
    """A hangup, a polite kill and Ctrl-C all end the run alike: Caffe snapshots, then it ends.

    A signal that the caller had ignored (nohup) stays ignored, Ctrl-C of a background job aside:
    `metaqnn stop` sends SIGTERM.
    """
    numbers = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
    earlier = {number: signal.getsignal(number) for number in numbers}
    for number, handler in earlier.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
