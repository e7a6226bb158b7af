"""The files of the released MetaQNN code, `replay_database.csv` and `q_values.csv`.

Both are what pandas wrote under Python 2: a header, commas, quotes only where needed, "\\n" at
the end of each line. What is read is written back byte by byte; only spellings that pandas never
gives (a number such as "0.10", "\\r\\n") come back in its own.

The released code adds a state to its Q table when a walk or a replay first meets it, so that
`q_values.csv` may lack states of our space and, as its replays see FC and GAP in bin 1 wherever
they were sampled, have states that no walk reaches.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prototxt_gen.notation import (
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    NotationError,
    Pooling,
    Softmax,
    parse,
)
from reproduce.files import write_atomically
from reproduce.search.space import SearchSpace, SpaceRules, State


class ReleasedFileError(ValueError):
    """A file cannot be read or imported; one line with the file, the line and the column."""


# The replay database.


@dataclass(frozen=True)
class ReplayRow:
    """One sample, its duplicates being rows of their own; the fields are the file's columns.

    Attributes:
        net: the architecture, its dropout layers included.
        accuracy_best_val: highest validation accuracy of the epochs, which is the reward;
            1/classes for a net that never left chance level.
        iter_best_val: the iteration of that accuracy; 0 at chance level.
        accuracy_last_val, iter_last_val: the same of the last epoch.
        accuracy_best_test, accuracy_last_test: -1 where the test set was not used.
        ix_q_value_update: number of the update of the Q-values that the sample belongs to.
        epsilon: the ε at which it was sampled.
        time_finished: seconds since 1970; 0 if unknown.
        machine_run_on: a host's name (printable), or "unknown".
        line: where the row stood in its file; 0 if nowhere.
    """

    net: str
    accuracy_best_val: float
    iter_best_val: float
    accuracy_last_val: float
    iter_last_val: float
    accuracy_best_test: float
    accuracy_last_test: float
    ix_q_value_update: float
    epsilon: float
    time_finished: float
    machine_run_on: str
    line: int = field(default=0, compare=False)

    def cells(self) -> tuple[Any, ...]:
        """The columns' values, in the file's order."""
        return tuple(getattr(self, name) for name in REPLAY_COLUMNS)


REPLAY_COLUMNS = tuple(x.name for x in dataclasses.fields(ReplayRow) if x.name != "line")
_TEXT_COLUMNS = {"net", "machine_run_on"}


@dataclass(frozen=True)
class ReleasedReplay:
    """The rows of a replay database, in the order in which samples were completed."""

    rows: tuple[ReplayRow, ...]
    path: Path = field(default=Path("replay_database.csv"), compare=False)


@dataclass(frozen=True)
class WithoutDebugRows:
    """A replay database without the rows that a rule dropped; `str` tells the rule."""

    replay: ReleasedReplay
    dropped: tuple[ReplayRow, ...]

    def __str__(self) -> str:
        lines = [row.line for row in self.dropped]
        where = f", lines {min(lines)} to {max(lines)}" if lines else ""
        return f"dropped {len(lines)} debug rows (accuracy_best_val > 1){where}"


def read_replay_database(path: Path) -> ReleasedReplay:
    """Read a `replay_database.csv`.

    Raises:
        ReleasedFileError: if it cannot be read, or a cell does not fit its column.
    """
    rows = []
    for line, cells in _read(path, REPLAY_COLUMNS):
        values: dict[str, Any] = dict(cells)
        for column, text in cells.items():
            if column not in _TEXT_COLUMNS:
                values[column] = _number(path, line, column, text)
        try:
            parse(cells["net"])
        except NotationError as error:
            raise file_error(path, line, "net", str(error).splitlines()[0]) from None
        rows.append(ReplayRow(**values, line=line))
    return ReleasedReplay(tuple(rows), path)


def write_replay_database(path: Path, replay: ReleasedReplay) -> None:
    """Write a `replay_database.csv`, whole or not at all."""
    _write(path, REPLAY_COLUMNS, [row.cells() for row in replay.rows])


def without_debug_rows(replay: ReleasedReplay) -> WithoutDebugRows:
    """Drop the rows whose best accuracy exceeds 1, which no net can reach.

    The file that the authors released ends in 73 such rows, made up to debug its server:
    accuracy 86.0, ε 0.7, dated 7 and 8 October 2016.
    """
    kept = tuple(row for row in replay.rows if row.accuracy_best_val <= 1)
    dropped = tuple(row for row in replay.rows if row.accuracy_best_val > 1)
    return WithoutDebugRows(ReleasedReplay(kept, replay.path), dropped)


# The Q-values.


@dataclass(frozen=True)
class ReleasedState:
    """A state, or an action as the state that it asks for, as the released code writes it.

    Attributes:
        fc_size: neurons of FC, otherwise 0.
        filter_depth: filters of a convolution; for FC the FC layers before it; 1 at the start.
        filter_size, stride: receptive field and stride of a convolution or pooling.
        image_size: the R-size bin. An action carries the bin of the state where it is taken,
            for FC and GAP always bin 1.
        layer_depth: layers placed so far.
        layer_type: start, conv, pool, fc or gap.
        split_depth, split_width: always 0.
        terminate: 1 for softmax, which is otherwise a copy of the state where it is taken.
    """

    fc_size: int
    filter_depth: int
    filter_size: int
    image_size: int
    layer_depth: int
    layer_type: str
    split_depth: int
    split_width: int
    stride: int
    terminate: int

    def cells(self) -> tuple[Any, ...]:
        """The values of the columns, in the file's order."""
        return tuple(getattr(self, name) for name in STATE_FIELDS)


STATE_FIELDS = tuple(x.name for x in dataclasses.fields(ReleasedState))
Q_COLUMNS = (
    *(f"end_{x}" for x in STATE_FIELDS),
    *(f"start_{x}" for x in STATE_FIELDS),
    "utility",
)


@dataclass(frozen=True)
class QRow:
    """One Q-value: of the action `end` in the state `start`.

    `pair` is the pair's index in the space's numbering, None where the space has no such pair.
    """

    end: ReleasedState
    start: ReleasedState
    utility: float
    pair: int | None
    line: int = field(default=0, compare=False)

    def cells(self) -> tuple[Any, ...]:
        """The columns' values, in the file's order."""
        return (*self.end.cells(), *self.start.cells(), self.utility)


@dataclass(frozen=True)
class ReleasedQValues:
    """The rows of a Q table, in the file's order."""

    rows: tuple[QRow, ...]

    @property
    def values(self) -> dict[int, float]:
        """Q-values in the space's numbering; pairs without a row are absent."""
        return {row.pair: row.utility for row in self.rows if row.pair is not None}

    @property
    def unmapped(self) -> tuple[QRow, ...]:
        """Rows of pairs that the space does not have; they are written back as they were."""
        return tuple(row for row in self.rows if row.pair is None)


def released_state(state: State) -> ReleasedState:
    """A state of ours in the released code's terms; one without a bin (FC) is in bin 1."""
    fc_size = filter_depth = filter_size = stride = 0
    match state.kind:
        case "start":
            name, filter_depth = "start", 1
        case "C":
            name, (filter_depth, filter_size), stride = "conv", state.numbers, 1
        case "P":
            name, (filter_size, stride) = "pool", state.numbers
        case "FC":
            name, (count, fc_size) = "fc", state.numbers
            filter_depth = count - 1
        case "GAP":
            name = "gap"
    bin_ = state.bin or 1
    return ReleasedState(
        fc_size, filter_depth, filter_size, bin_, state.depth, name, 0, 0, stride, 0
    )


def released_action(state: State, action: Layer) -> ReleasedState:
    """An action in a state, in the released code's terms; GAP is always a layer there."""
    start, depth = released_state(state), state.depth + 1
    match action:
        case Softmax():
            return dataclasses.replace(start, layer_depth=depth, terminate=1)
        case Convolution(filters, size, stride):
            return ReleasedState(0, filters, size, start.image_size, depth, "conv", 0, 0, stride, 0)
        case Pooling(size, stride):
            return ReleasedState(0, 0, size, start.image_size, depth, "pool", 0, 0, stride, 0)
        case FullyConnected(neurons):
            count = state.numbers[0] if state.kind == "FC" else 0
            return ReleasedState(neurons, count, 0, 1, depth, "fc", 0, 0, 0, 0)
        case GlobalAveragePooling():
            return ReleasedState(0, 0, 0, 1, depth, "gap", 0, 0, 0, 0)
    raise ValueError(f"{action} is no action")


def released_pairs(space: SearchSpace) -> list[tuple[ReleasedState, ReleasedState]]:
    """(end, start) of each pair, in the space's numbering.

    Raises:
        ReleasedFileError: if the space is not one of Table 1, as the released code's is.
    """
    if not isinstance(space.rules, SpaceRules):
        raise ReleasedFileError("only spaces of Table 1 have the released code's states")
    return [
        (released_action(state, action), released_state(state))
        for state, actions in zip(space.states, space.actions, strict=True)
        for action in actions
    ]


def read_q_values(path: Path, space: SearchSpace) -> ReleasedQValues:
    """Read a `q_values.csv`.

    Raises:
        ReleasedFileError: if it cannot be read, a cell does not fit its column, or two rows are
            of the same pair.
    """
    numbers = {pair: number for number, pair in enumerate(released_pairs(space))}
    seen: dict[tuple[ReleasedState, ReleasedState], int] = {}
    rows = []
    for line, cells in _read(path, Q_COLUMNS):
        end, start = (_released_state(path, line, side, cells) for side in ("end", "start"))
        if (end, start) in seen:
            problem = f"the same state and action as in line {seen[end, start]}"
            raise file_error(path, line, Q_COLUMNS[0], problem)
        seen[end, start] = line
        utility = _number(path, line, "utility", cells["utility"])
        rows.append(QRow(end, start, utility, numbers.get((end, start)), line))
    return ReleasedQValues(tuple(rows))


def _released_state(path: Path, line: int, side: str, cells: dict[str, str]) -> ReleasedState:
    values: dict[str, Any] = {}
    for name in STATE_FIELDS:
        column = f"{side}_{name}"
        text = cells[column]
        if name != "layer_type" and not _INTEGER.fullmatch(text):
            raise file_error(path, line, column, f"expected an integer, found {text!r}")
        values[name] = text if name == "layer_type" else int(text)
    return ReleasedState(**values)


def write_q_values(path: Path, q_values: ReleasedQValues) -> None:
    """Write a `q_values.csv`, whole or not at all."""
    _write(path, Q_COLUMNS, [row.cells() for row in q_values.rows])


# The format of both files.

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def file_error(path: Path, line: int, column: str, problem: str) -> ReleasedFileError:
    """The error of one cell, in one line."""
    return ReleasedFileError(f"{path}, line {line}, column {column}: {problem}")


def _number(path: Path, line: int, column: str, text: str) -> float:
    """A finite number; one written as an integer stays an integer, and is written as one."""
    if _INTEGER.fullmatch(text):
        return int(text)
    value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise file_error(path, line, column, f"expected a number, found {text!r}")
    return value


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each line's number, from 1, and its cells, the header's among them.

    Raises:
        ReleasedFileError: if the file cannot be read, or is no CSV in UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ReleasedFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ReleasedFileError(f"{path}: no UTF-8 text at byte {error.start}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise ReleasedFileError(f"{path}, line {reader.line_num}: {error}") from None


def _read(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's line number, from 1, and its cells by column."""
    lines = csv_lines(path)
    _, header = next(lines, (1, []))
    for expected, found in zip(columns, header, strict=False):
        if found != expected:
            raise file_error(path, 1, expected, f"the header has {found!r} in its place")
    if len(header) != len(columns):
        missing = columns[len(header)] if len(header) < len(columns) else columns[-1]
        problem = f"the header has {len(header)} columns, not {len(columns)}"
        raise file_error(path, 1, missing, problem)
    for line, cells in lines:
        if len(cells) != len(columns):
            last = columns[min(len(cells), len(columns) - 1)]
            problem = f"the row has {len(cells)} cells, not {len(columns)}"
            raise file_error(path, line, last, problem)
        row = dict(zip(columns, cells, strict=True))
        for column, cell in row.items():
            if not cell.isprintable():
                raise file_error(path, line, column, f"unprintable text {cell!r}")
        yield line, row


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Numbers are written as the shortest text that reads as the same number."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
