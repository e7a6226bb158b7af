"""The authors' own data: which files, where they are served, and how they are read.

The replay database and the Q-values are those that the released code ships for its tests (a SVHN
run, up to ε = 0.8); the learning curves are those published with the authors' later paper,
*Accelerating Neural Architecture Search using Performance Prediction*. None is a pickle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from data_prep.downloads import FilePin, NotServedError, hash_file, obtain_file, user_files
from data_prep.errors import DataError
from data_prep.manifest import SourceFile
from data_prep.transfer import Progress
from prototxt_gen.notation import Architecture, NotationError, parse
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.search.released_files import (
    ReleasedFileError,
    ReleasedQValues,
    ReplayRow,
    csv_lines,
    file_error,
    read_q_values,
    read_replay_database,
    without_debug_rows,
)
from reproduce.search.space import SearchSpace

_RELEASED = (
    "https://raw.githubusercontent.com/bowenbaker/metaqnn/"
    "a25847f635e9545455f83405453e740646038f7a/test/needed_for_testing/"
)
_CURVES = (
    "https://raw.githubusercontent.com/MITAutoML/accelerating_nas/"
    "7a0abeb37787f51f47231c45af2796be697fe2cc/data/"
)

REPLAY = FilePin(
    "replay_database.csv",
    327_407,
    "65beb10ec83cf77b100efc7a24a165c0404ce696df693e5f4fca313715d4ce14",
    (_RELEASED,),
)
Q_VALUES = FilePin(
    "q_values.csv",
    254_201,
    "16580f494e2373fe55b3505ba1193cb9b7e4d707e490cb57f5ff027cd11220f5",
    (_RELEASED,),
)
CIFAR10_CURVES = FilePin(
    "metaqnn_cifar10.csv",
    290_241,
    "ba00613f32132d0e605b4652828d4e363e634f523b034db8a8a4cf96336f1c71",
    (_CURVES,),
)
SVHN_CURVES = FilePin(
    "metaqnn_svhn.csv",
    379_896,
    "9407b8b58e1739244376a968ecf5ac1250360da67ca30834ce34eece91d53283",
    (_CURVES,),
)
PINS = (REPLAY, Q_VALUES, CIFAR10_CURVES, SVHN_CURVES)
"""The files, as they were on the day of the commits that their addresses name."""

EPOCHS = 20
"""Epochs of exploration (section 5): accuracies in each row of the learning curves."""

_ACCURACIES = tuple(f"acc_{epoch}" for epoch in range(1, EPOCHS + 1))
CURVE_COLUMNS = ("net", "training_dataset", "num_params", "depth", "lr", *_ACCURACIES)
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?([eE]-?[0-9]{1,2})?")


@dataclass(frozen=True)
class LearningCurve:
    """One net's exploration; only nets that left chance level were published.

    Attributes:
        net: the architecture, its dropout layers included.
        learning_rate: the rate that its training began with, after restarts.
        accuracies: validation accuracy after each of the 20 epochs, in [0, 1].
        stated_parameters, stated_depth: the file's own columns.
    """

    net: str
    learning_rate: float
    accuracies: tuple[float, ...]
    stated_parameters: int
    stated_depth: int

    @property
    def best(self) -> float:
        """The highest accuracy, which is the reward."""
        return max(self.accuracies)


@dataclass(frozen=True)
class AuthorsData:
    """What the four files hold.

    Attributes:
        samples: the replay database without its debug rows: SVHN, ε 1.0, 0.9 and 0.8.
        debug: those rows, whose best accuracy exceeds 1.
        q_values: the Q table; `space` numbers its pairs.
        cifar10, svhn: the learning curves.
        sources: each file's SHA-256, and whether it is the published one (`verified`).
    """

    samples: tuple[ReplayRow, ...]
    debug: tuple[ReplayRow, ...]
    q_values: ReleasedQValues
    cifar10: tuple[LearningCurve, ...]
    svhn: tuple[LearningCurve, ...]
    sources: tuple[SourceFile, ...]

    @property
    def verified(self) -> bool:
        """Whether all four files are the published ones."""
        return all(source.status == "verified" for source in self.sources)


@cache
def authors_space(data_set: str) -> SearchSpace:
    """The space of the authors' own runs, by the name of an experiment, `svhn` or `cifar10`."""
    experiment = load_experiment(experiment_path(data_set), "paper", 0, "authors")
    return SearchSpace(experiment.space.rules(experiment.data))


@cache
def architecture(net: str) -> Architecture:
    """A net's layers; strings come back in several files and rows."""
    return parse(net)


def locate(folder: Path) -> dict[str, Path]:
    """The files in a folder by their pins' names; those that are missing are absent.

    A file is found by its name, or else by its size and SHA-256 under any name.

    Raises:
        DataError: if the folder or a file of a pinned size cannot be read.
    """
    try:
        there = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; name the folder of the files") from None
    found = {}
    for pin in PINS:
        named = (path for path in there if path.name == pin.name)
        sized = (path for path in there if path.stat().st_size == pin.size)
        same = (path for path in sized if hash_file(path) == pin.sha256)
        if (path := next(chain(named, same), None)) is not None:
            found[pin.name] = path
    return found


def read_authors_data(folder: Path) -> AuthorsData:
    """Read the four files of a folder.

    A file whose SHA-256 is not the published one is `unverified`, with a warning, and read all
    the same.

    Raises:
        DataError: if files are missing, all of which it names, or cannot be read.
        ReleasedFileError: if a file's content is not what its name promises.
    """
    found = locate(folder)
    if missing := [pin.name for pin in PINS if pin.name not in found]:
        raise DataError(f"{folder} has no {', '.join(missing)}; put them there or fetch them")
    located = user_files([(found[pin.name], pin) for pin in PINS])
    clean = without_debug_rows(read_replay_database(found[REPLAY.name]))
    return AuthorsData(
        clean.replay.rows,
        clean.dropped,
        read_q_values(found[Q_VALUES.name], authors_space("svhn")),
        read_curves(found[CIFAR10_CURVES.name], "cifar10"),
        read_curves(found[SVHN_CURVES.name], "svhn"),
        tuple(source for _, source in located),
    )


def fetch(folder: Path, progress: Progress | None = None) -> tuple[SourceFile, ...]:
    """Bring the files that a folder lacks into it, each with its SHA-256; others stay as they are.

    Returns:
        what was fetched.

    Raises:
        DataError: if a file is not served with its SHA-256, or the folder cannot be written.
    """
    found = locate(folder) if folder.is_dir() else {}
    missing = [pin for pin in PINS if pin.name not in found]
    try:
        return tuple(obtain_file(pin, cache=folder, progress=progress)[1] for pin in missing)
    except NotServedError as error:
        names = ", ".join(pin.name for pin in missing)
        raise DataError(
            f"cannot fetch the authors' data ({error.reasons}); put {names} into a folder and "
            "name it with --authors-data"
        ) from None


def read_curves(path: Path, data_set: str) -> tuple[LearningCurve, ...]:
    """Read the learning curves of a data set.

    Raises:
        ReleasedFileError: if the file cannot be read, a cell does not fit its column, or a row
            is of another data set.
    """
    return tuple(_curve(path, line, cells, data_set) for line, cells in _rows(path))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's line number, from 1, and its cells by column."""
    lines = csv_lines(path)
    _, header = next(lines, (1, []))
    if tuple(header) != CURVE_COLUMNS:
        raise ReleasedFileError(f"{path}, line 1: the columns are not {','.join(CURVE_COLUMNS)}")
    for line, cells in lines:
        if len(cells) != len(CURVE_COLUMNS):
            problem = f"{len(cells)} cells, not {len(CURVE_COLUMNS)}"
            raise ReleasedFileError(f"{path}, line {line}: {problem}")
        yield line, dict(zip(CURVE_COLUMNS, cells, strict=True))


def _curve(path: Path, line: int, cells: dict[str, str], data_set: str) -> LearningCurve:
    if cells["training_dataset"] != data_set:
        problem = f"{cells['training_dataset']!r} is not {data_set!r}"
        raise file_error(path, line, "training_dataset", problem)
    try:
        architecture(cells["net"])
    except NotationError as error:
        raise file_error(path, line, "net", str(error).splitlines()[0]) from None
    numbers = {}
    for column in CURVE_COLUMNS[2:]:
        text = cells[column]
        if not _NUMBER.fullmatch(text):
            raise file_error(path, line, column, f"expected a number, found {text!r}")
        numbers[column] = float(text)
    for column in _ACCURACIES:
        if numbers[column] > 1:
            raise file_error(path, line, column, f"{cells[column]} is not in [0, 1]")
    return LearningCurve(
        cells["net"],
        numbers["lr"],
        tuple(numbers[column] for column in _ACCURACIES),
        int(numbers["num_params"]),
        int(numbers["depth"]),
    )
