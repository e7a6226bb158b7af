"""A whole search by the surrogate, in the process that drives the run: no images, no Caffe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from data_prep.manifest import SourceFile
from reproduce.audit.authors_data.files import EPOCHS, fetch, read_authors_data
from reproduce.driver import Driver
from reproduce.pace import RunPace
from reproduce.rivals.surrogate.choice import authors_folder, data_set_of, outside_range
from reproduce.rivals.surrogate.data import training_data
from reproduce.run import RunError
from reproduce.search.replay_memory import Trial

_FIRST_GUESS_S = 0.02
"""Seconds that a net is taken to need before one has ended."""


class ElapsedPace(RunPace):
    """The time left by what the nets of this process have taken so far, sampling included."""

    _ended, _before, _since = 0, 0, None

    def sampled(self, architecture: str) -> None:
        """What a net costs in training does not matter."""

    def trained(self, trial: Trial) -> None:
        """Count a net, of an earlier process too."""
        self._ended += 1

    def search_seconds(self, models: int) -> float:
        """For so many more models; the clock runs from the first question."""
        if self._since is None:
            self._since, self._before = time.monotonic(), self._ended
        passed = time.monotonic() - self._since + _FIRST_GUESS_S
        return models * passed / (self._ended - self._before + 1)


def search_by_surrogate(driver: Driver) -> None:
    """Fit the surrogate, then run or resume the search with it.

    Files of the authors' data that are missing are fetched.

    Raises:
        RunError: if the run began with other files, was stopped, or finds no more nets; or if
            the files do not suffice.
        DataError, ReleasedFileError: if a file cannot be had or read.
    """
    from reproduce.rivals.surrogate.surrogate import Surrogate
    from reproduce.rivals.surrogate.trainer import SurrogateTrainer

    experiment, options, say = driver.experiment, driver.options, driver.display.line
    folder = authors_folder(options)
    say("Authors' data:")
    fetch(folder, driver.display.data_step)
    authors = read_authors_data(folder)
    _keep(driver, authors.sources)
    data = training_data(authors, data_set_of(experiment))
    try:
        surrogate = Surrogate.fit(data, experiment.seed, options.failure_share)
    except ValueError as error:
        raise RunError(f"{folder}: no surrogate can be fitted to these files: {error}") from None
    say(
        f"    {folder}: fitted to {len(data.curves):,} curves of {EPOCHS} epochs, "
        f"{len(data.learned):,} further nets that learned and {len(data.failed):,} that did not"
    )
    driver.pace = ElapsedPace(experiment)
    driver.search(SurrogateTrainer(experiment, surrogate))
    trials = driver.memory.trials()
    guesses = outside_range(driver.memory, trials) or {}
    say(
        f"All rewards are predicted, no net was trained. {len(guesses):,} of {len(trials):,} nets "
        "are outside the surrogate's range: their rewards are guesses"
    )


def _keep(driver: Driver, sources: Sequence[SourceFile]) -> None:
    """Keep which files the rewards rest on, where others keep the data that they train on."""
    found = [asdict(source) for source in sources]
    known = (driver.memory.get("data") or {}).get("sources")
    if known is not None:
        hashes = [{one["name"]: one["sha256"] for one in files} for files in (known, found)]
        if changed := [name for name, digest in hashes[1].items() if hashes[0].get(name) != digest]:
            raise RunError(
                f"{driver.folder} was begun with other files of the authors' data "
                f"({', '.join(changed)}): give --authors-data their folder, or name another run"
            )
    driver.memory.put(data={"sources": found})
