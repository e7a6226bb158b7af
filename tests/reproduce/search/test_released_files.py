"""The released code's two files: read, and written back byte by byte."""

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prototxt_gen.notation import Convolution, FullyConnected, Layer, Pooling, Softmax
from reproduce.search.first_version import FirstVersionRules
from reproduce.search.released_files import (
    Q_COLUMNS,
    REPLAY_COLUMNS,
    ReleasedFileError,
    ReleasedReplay,
    ReplayRow,
    read_q_values,
    read_replay_database,
    without_debug_rows,
    write_q_values,
    write_replay_database,
)
from reproduce.search.released_import import export_released
from reproduce.search.replay_memory import ReplayMemory
from reproduce.search.space import SearchSpace, SpaceRules, State

AUTHORS = SearchSpace(
    SpaceRules(
        depth=12,
        image=32,
        smaller_than_bin=True,
        pool_rounding="floor",
        gap="layer",
        fc_sees_bin=True,
    )
)
SMALL = SearchSpace(dataclasses.replace(AUTHORS.rules, depth=4, image=12))


# Byte by byte.


def test_the_released_replay_database_comes_back_byte_by_byte(runs: Path, tmp_path: Path) -> None:
    write_replay_database(
        tmp_path / "again.csv", read_replay_database(runs / "replay_database.csv")
    )
    again = (tmp_path / "again.csv").read_bytes()
    assert again == (runs / "replay_database.csv").read_bytes()


def test_the_released_q_values_come_back_byte_by_byte(runs: Path, tmp_path: Path) -> None:
    write_q_values(tmp_path / "again.csv", read_q_values(runs / "q_values.csv", AUTHORS))
    assert (tmp_path / "again.csv").read_bytes() == (runs / "q_values.csv").read_bytes()


def test_the_debug_rows_are_the_last_73_of_1983(runs: Path) -> None:
    everything = read_replay_database(runs / "replay_database.csv")
    clean = without_debug_rows(everything)
    assert (len(clean.replay.rows), len(clean.dropped)) == (1910, 73)
    assert clean.replay.rows + clean.dropped == everything.rows
    assert {(row.accuracy_best_val, row.epsilon) for row in clean.dropped} == {(86.0, 0.7)}
    assert str(clean) == "dropped 73 debug rows (accuracy_best_val > 1), lines 1912 to 1984"


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**17), 10**17)
)
ROWS = st.builds(
    ReplayRow,
    net=st.sampled_from(["[SM(10)]", "[C(64,3,1), P(2,2), D(1,1), SM(10)]", "[ FC(5),SM(2) ]"]),
    machine_run_on=st.text().filter(str.isprintable),
    line=st.just(0),
    **{c: NUMBERS for c in REPLAY_COLUMNS if c not in ("net", "machine_run_on")},
)


@given(rows=st.lists(ROWS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_rows_read_back_as_written(rows: list[ReplayRow]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "1.csv"), Path(folder, "2.csv")
        write_replay_database(one, ReleasedReplay(tuple(rows)))
        read = read_replay_database(one)
        assert read.rows == tuple(rows)
        write_replay_database(two, read)
        assert two.read_bytes() == one.read_bytes()


# Q-values in the space's numbering.


def q_value(q_values: dict[int, float], state: State, action: Layer) -> float:
    number = AUTHORS.index(state)
    return q_values[AUTHORS.offsets[number] + AUTHORS.actions[number].index(action)]


def test_rows_map_to_the_states_and_actions_that_they_name(runs: Path) -> None:
    """Rows picked by hand: each kind of state and of action, and the value at its line's end."""
    values = read_q_values(runs / "q_values.csv", AUTHORS).values
    start, pool = State("start", 0, (), 8), State("P", 3, (5, 3), 8)
    assert q_value(values, start, Softmax(10)) == 0.100006919222
    assert q_value(values, start, Convolution(128, 5, 1)) == 0.791498950266
    assert q_value(values, State("C", 1, (256, 1), 8), Softmax(10)) == 0.318862656956
    assert q_value(values, State("P", 8, (5, 3), 8), Convolution(64, 3, 1)) == 0.546701287772
    assert q_value(values, State("P", 8, (5, 3), 8), Convolution(64, 1, 1)) == 0.5
    assert q_value(values, pool, Softmax(10)) == 1.4078531839
    assert q_value(values, State("FC", 10, (2, 256), 1), Softmax(10)) == 0.518366883221
    assert q_value(values, State("FC", 8, (2, 128), 1), Softmax(10)) == 1.21253245968
    assert q_value(values, State("GAP", 9, (), 1), Softmax(10)) == 2.00637436158


def test_every_row_is_of_a_pair_and_four_pairs_have_no_row(runs: Path) -> None:
    """That both counts are 4,161 where sampling is concerned is a coincidence: the file has GAP in
    bin 1 at depths 1 to 4, which only replays see, and lacks four second FC layers in bin 4."""
    table = read_q_values(runs / "q_values.csv", AUTHORS)
    assert len(table.rows) == len(table.values) == AUTHORS.counts().pairs == 4161
    assert not table.unmapped
    assert AUTHORS.pairs == 4165
    missing = {n for n in range(AUTHORS.pairs) if n not in table.values}
    states = [s for i, s in enumerate(AUTHORS.states) if AUTHORS.offsets[i] in missing]
    # Second FC layers in bin 4, whose values never change: one pair each, which no walk of the
    # program that wrote the file had met.
    assert {(s.kind, s.depth, s.numbers, s.bin) for s in states} == {
        ("FC", 7, (2, 256), 4),
        ("FC", 7, (2, 512), 4),
        ("FC", 10, (2, 512), 4),
        ("FC", 12, (2, 512), 4),
    }


def test_values_of_fc_in_bin_4_never_changed(runs: Path) -> None:
    """The released code replays them in bin 1: 83 rows of 0.5, and 81 of 87 that changed."""
    values = read_q_values(runs / "q_values.csv", AUTHORS).values
    of_bin: dict[int, list[float]] = {1: [], 4: []}
    for i, state in enumerate(AUTHORS.states):
        if state.kind == "FC":
            pairs = range(AUTHORS.offsets[i], AUTHORS.offsets[i + 1])
            of_bin[state.bin] += [values[n] for n in pairs if n in values]
    assert of_bin[4] == [0.5] * 83
    assert (len(of_bin[1]), sum(value != 0.5 for value in of_bin[1])) == (87, 81)


# Malformed files.

REPLAY_HEADER = ",".join(REPLAY_COLUMNS)
Q_HEADER = ",".join(Q_COLUMNS)
GOOD = "[SM(10)],0.1,0.0,0.1,0.0,-1.0,-1.0,1.0,1.0,0.0,unknown"
GOOD_Q = "0,1,0,8,1,start,0,0,0,1,0,1,0,8,0,start,0,0,0,0,0.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column net: the header has 0 columns, not 11"),
        (REPLAY_HEADER + ",more\n", "line 1, .*: the header has 12 columns, not 11"),
        ("network" + REPLAY_HEADER[3:], "line 1, column net: the header has 'network'"),
        (f"{REPLAY_HEADER}\n{GOOD}\n[SM(10)],0.1\n", "line 3, column .*: the row has 2 cells"),
        (f"{REPLAY_HEADER}\n{GOOD},x\n", "line 2, .*: the row has 12 cells, not 11"),
        (f"{REPLAY_HEADER}\n\n", "line 2, column net: the row has 0 cells"),
        (
            f"{REPLAY_HEADER}\n{GOOD.replace('1.0,0.0', 'high,0.0')}\n",
            "line 2, column epsilon: expected a number, found 'high'",
        ),
        (
            f"{REPLAY_HEADER}\n{GOOD.replace('0.1,', 'nan,')}",
            "line 2, column accuracy_best_val: .*'nan'",
        ),
        (f"{REPLAY_HEADER}\n{GOOD.replace('0.1,', '1e999,')}", "line 2, .*best_val: .*'1e999'"),
        (f"{REPLAY_HEADER}\n{GOOD.replace('SM', 'XM')}", "line 2, column net: unknown layer 'XM'"),
        (f'{REPLAY_HEADER}\n{GOOD[:-7]}"a\nb"\n', r"line 3, column machine_run_on: .*'a\\nb'"),
        (f'{REPLAY_HEADER}\n"[SM(10)],0.1', "line 2: unexpected end of data"),
    ],
)
def test_a_malformed_replay_database_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "replay_database.csv"
    path.write_text(text)
    with pytest.raises(ReleasedFileError, match=f"^{path}, {message}") as caught:
        read_replay_database(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{Q_HEADER}\n{GOOD_Q.replace('8', '8.5', 1)}\n",
            "line 2, column end_image_size: .*'8.5'",
        ),
        (f"{Q_HEADER}\n{GOOD_Q[:-3]}half\n", "line 2, column utility: .* found 'half'"),
        (f"{Q_HEADER}\n{GOOD_Q}\n{GOOD_Q}\n", "line 3, .* the same state and action as in line 2"),
    ],
)
def test_malformed_q_values_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "q_values.csv"
    path.write_text(text)
    with pytest.raises(ReleasedFileError, match=f"^{path}, {message}"):
        read_q_values(path, SMALL)


def test_only_spaces_of_table_1_have_the_released_states(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(f"{Q_HEADER}\n{GOOD_Q}\n")
    with pytest.raises(ReleasedFileError, match="only spaces of Table 1"):
        read_q_values(tmp_path / "q.csv", SearchSpace(FirstVersionRules(depth=2)))


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleasedFileError, match=r"none\.csv: No such file"):
        read_replay_database(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"net\xff")
    with pytest.raises(ReleasedFileError, match=r"binary\.csv: no UTF-8 text at byte 3"):
        read_q_values(tmp_path / "binary.csv", SMALL)


def test_the_released_pooling_and_fc_actions(tmp_path: Path) -> None:
    """Pooling carries the bin it starts from, FC always bin 1 and the FC layers before it."""
    memory = ReplayMemory(tmp_path / "r.sqlite")
    rows = export_released(memory, SMALL)[1].rows
    number = SMALL.index(State("C", 1, (64, 3), 8))
    at = SMALL.offsets[number] + SMALL.actions[number].index(Pooling(3, 2))
    assert rows[at].cells() == (
        *(0, 0, 3, 8, 2, "pool", 0, 0, 2, 0),
        *(0, 64, 3, 8, 1, "conv", 0, 0, 1, 0),
        0.5,
    )
    number = SMALL.index(State("FC", 3, (1, 256), 4))
    at = SMALL.offsets[number] + SMALL.actions[number].index(FullyConnected(128))
    assert rows[at].cells() == (
        *(128, 1, 0, 1, 4, "fc", 0, 0, 0, 0),
        *(256, 0, 0, 4, 3, "fc", 0, 0, 0, 0),
        0.5,
    )
