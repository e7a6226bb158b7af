"""Caffe's log as events. The logs are real Caffe's; what they say was read by eye."""

import datetime
import gc
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reproduce.training.log_parser import (
    Error,
    Event,
    Fatal,
    Finished,
    LearningRate,
    LogFollower,
    LogParser,
    Resumed,
    Signal,
    Snapshot,
    StoppedEarly,
    TestOutput,
    TestStart,
    TrainLoss,
    TrainOutput,
    parse_columns,
    parse_events,
)

LOGS = Path(__file__).parent / "logs"
NAMES = sorted(path.name for path in LOGS.iterdir())
GLOG = "I1124 17:48:36.986599 10291 solver.cpp:239] "


def parse(text: str) -> list[Event]:
    return LogParser().feed(text)


def of(kind: type, events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_a_normal_run() -> None:
    events = parse_events(LOGS / "train_normal.log")
    assert of(TestStart, events) == [TestStart(0, 0), TestStart(430, 0), TestStart(860, 0)]
    assert of(TestOutput, events) == [
        TestOutput(0, 0, 0, "accuracy", 0.0644, None),
        TestOutput(0, 0, 1, "loss", 2.36109, 1.0),
        TestOutput(430, 0, 0, "accuracy", 0.981, None),
        TestOutput(430, 0, 1, "loss", 0.0701608, 1.0),
        TestOutput(860, 0, 0, "accuracy", 0.9864, None),
        TestOutput(860, 0, 1, "loss", 0.0439533, 1.0),
    ]
    losses = of(TrainLoss, events)
    assert [(e.iteration, e.loss) for e in losses] == [
        (0, 2.37261),
        (100, 0.359856),
        (200, 0.119366),
        (300, 0.082508),
        (400, 0.0512446),
        (500, 0.0375123),
        (600, 0.0142721),
        (700, 0.0627081),
        (800, 0.0461941),
    ]
    # 17:48:16.707764 and 17:50:23.805088, from 17:48:13.476761
    assert losses[0].seconds == pytest.approx(3.231003, abs=1e-9)
    assert losses[-1].seconds == pytest.approx(130.328327, abs=1e-9)
    assert of(TrainOutput, events)[4] == TrainOutput(400, 0, "loss", 0.0512447, 1.0)
    assert of(LearningRate, events)[4:6] == [LearningRate(400, 0.001), LearningRate(500, 0.0002)]
    assert of(Snapshot, events) == [
        Snapshot(430, "work/solver_normal_iter_430.caffemodel", False),
        Snapshot(430, "work/solver_normal_iter_430.solverstate", True),
        Snapshot(860, "work/solver_normal_iter_860.caffemodel", False),
        Snapshot(860, "work/solver_normal_iter_860.solverstate", True),
    ]
    assert events[-2:] == [Finished(), Finished()]
    assert not of(Error, events)
    assert not of(Fatal, events)


def test_a_resumed_run() -> None:
    events = parse_events(LOGS / "train_resumed.log")
    assert events[:2] == [
        Resumed(430, "work/solver_normal_iter_430.solverstate"),
        TestStart(430, 0),
    ]
    assert [e.iteration for e in of(TrainLoss, events)] == [500]


def test_nan_is_a_number_here() -> None:
    events = parse_events(LOGS / "train_nan_adam1e30.log")
    assert math.isnan(of(TrainLoss, events)[-1].loss)
    accuracy, loss = of(TestOutput, events)[-2:]
    assert (accuracy.value, accuracy.iteration) == (1.0, 60)
    assert math.isnan(loss.value)


@pytest.mark.parametrize(
    ("text", "value"), [("nan", "nan"), ("-nan", "nan"), ("inf", "inf"), ("-inf", "-inf")]
)
def test_every_spelling_of_no_number(text: str, value: str, tmp_path: Path) -> None:
    log = (
        f"{GLOG}Iteration 7, loss = {text}\n"
        f"{GLOG}    Train net output #0: loss = {text} (* 1 = {text} loss)\n"
        f"{GLOG}Iteration 7, Testing net (#0)\n"
        f"{GLOG}    Test net output #0: loss = {text} (* 1 = {text} loss)\n"
        f"{GLOG}    Test net output #1: norm = {text}\n"
    )
    loss, output, _, *tests = parse(log)
    read = [loss.loss, output.value, *(test.value for test in tests)]
    assert [str(number) for number in read] == [value] * 4
    path = tmp_path / "caffe.log"
    path.write_text(log)
    columns = parse_columns(path)
    arrays = [*columns["train_loss"], *columns["test_value"]]
    assert [str(float(number)) for number in arrays] == [value] * 3


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("train_sigint", [StoppedEarly(), Finished()]),
        (
            "train_bad_field",
            [
                Error(
                    "Error parsing text-format caffe.NetParameter: 9:33: Message type "
                    '"caffe.ConvolutionParameter" has no field named "num_outptu".'
                ),
                Fatal(
                    "Check failed: ReadProtoFromTextFile(param_file, param) Failed to parse "
                    "NetParameter file: prototxt/lenet_bad_field.prototxt"
                ),
            ],
        ),
        ("train_bad_flag", [Error("ERROR: unknown command line flag 'solverr'")]),
        (
            "train_missing_lmdb",
            [Fatal("Check failed: mdb_status == 0 (2 vs. 0) No such file or directory")],
        ),
        ("unknown_command", [Error("train"), Fatal("Unknown action: frobnicate")]),
        (
            "train_unwritable_snapshot",
            [
                Snapshot(40, "nodir/x/tmp_iter_40.caffemodel", False),
                Fatal("Check failed: proto.SerializeToOstream(&output)"),
            ],
        ),
    ],
)
def test_endings(name: str, last: list[Event]) -> None:
    assert parse_events(LOGS / f"{name}.log")[-len(last) :] == last


def test_a_signal_that_glog_caught() -> None:
    last = parse_events(LOGS / "train_sigterm.log")[-1]
    assert last == Signal(
        "SIGTERM",
        "SIGTERM (@0x33ee) received by PID 13295 (TID 0x7f1eb0737d00) from PID 13294; stack trace:",
    )


def test_old_and_new_lines_of_loss() -> None:
    old, new, odd = parse(
        f"{GLOG}Iteration 100, loss = 0.25\n"
        f"{GLOG}Iteration 200 (5 iter/s, 20s/100 iters), loss = 0.125\n"
        f"{GLOG}Iteration 300 (-5.7e+23 iter/s, 0.8s/20 iters), loss = 1.5e-05\n"
    )
    assert (old.iteration, old.loss) == (100, 0.25)
    assert (new.iteration, new.loss) == (200, 0.125)
    assert (odd.iteration, odd.loss) == (300, 1.5e-05)


def test_several_test_nets_with_several_outputs() -> None:
    events = parse(
        f"{GLOG}Iteration 50, Testing net (#0)\n"
        f"{GLOG}    Test net output #0: accuracy = 0.5\n"
        f"{GLOG}    Test net output #1: top 5 = 0.75\n"
        f"{GLOG}Iteration 50, Testing net (#1)\n"
        f"{GLOG}    Test net output #0: aux/loss = 2 (* 0.3 = 0.6 loss)\n"
    )
    assert of(TestOutput, events) == [
        TestOutput(50, 0, 0, "accuracy", 0.5, None),
        TestOutput(50, 0, 1, "top 5", 0.75, None),
        TestOutput(50, 1, 0, "aux/loss", 2.0, 0.3),
    ]


def test_memory_errors_of_other_programs_are_errors() -> None:
    lines = (
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "  what():  std::bad_alloc",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "MemoryError",
        "ImportError: No module named layers",
    )
    events = parse("\n".join(lines) + "\n")
    assert events == [Error(line.strip()) for line in lines]


def test_a_torn_line_is_not_read() -> None:
    parser = LogParser()
    assert parser.feed(f"{GLOG}Iteration 100, loss = 0.3") == []
    (event,) = parser.feed("75\n")
    assert event.loss == 0.375


def test_a_line_glued_to_a_torn_one_is_read() -> None:
    (event,) = parse(f"I1124 17:48:36.986599 10291 solver.cpp:239] Iter{GLOG}Iteration 5, lr = 1\n")
    assert event == LearningRate(5, 1.0)


def test_a_line_that_another_thread_tore_names_no_file() -> None:
    path = "work/x_iter_430.caffemodelI1124 17:48:37.000001 10293 data_layer.cpp:73] Restarting"
    assert parse(f"{GLOG}Snapshotting to binary proto file {path}\n") == []


def test_lines_of_other_threads_lie_between() -> None:
    other = "I1124 17:48:36.990001 10293 data_layer.cpp:73] Restarting data prefetching from start."
    assert parse(
        f"{other}\n{GLOG}Iteration 100, Testing net (#0)\n{other}\n"
        f"{GLOG}    Test net output #0: accuracy = 0.5\n{other}\n"
        f"{GLOG}    Test net output #1: loss = 2 (* 1 = 2 loss)\n{other}\n"
    ) == [
        TestStart(100, 0),
        TestOutput(100, 0, 0, "accuracy", 0.5, None),
        TestOutput(100, 0, 1, "loss", 2.0, 1.0),
    ]


def test_events_of_every_kind_keep_the_logs_order() -> None:
    lines = {
        "I1124 17:48:36.000000 1 solver.cpp:1] Iteration 5, lr = 0.5": LearningRate(5, 0.5),
        "layer {": None,
        "W1124 17:48:36.000000 1 x.cpp:1] careful": None,
        "E1124 17:48:36.000000 1 x.cpp:1] worse": Error("worse"),
        f"{GLOG}Iteration 6, lr = 0.5": LearningRate(6, 0.5),
        '  name: "x"': None,
        f"{GLOG}Resuming from x_iter_4.solverstate": Resumed(4, "x_iter_4.solverstate"),
        f"{GLOG}Iteration 7, lr = 0.5": LearningRate(7, 0.5),
        "layer {" + f"{GLOG}Iteration 8, lr = 0.5": LearningRate(8, 0.5),
        "": None,
        f"{GLOG}Optimization Done.": Finished(),
        "F1124 17:48:36.000000 1 x.cpp:1] the end": Fatal("the end"),
    }
    assert parse("\n".join(lines) + "\n") == [event for event in lines.values() if event]


def test_a_path_may_hold_what_ends_a_lines_head() -> None:
    assert parse(
        f"{GLOG}Snapshotting solver state to HDF5 file a] b_iter_7.solverstate.h5\n"
        f"{GLOG}Restoring previous solver status from a] b_iter_7.solverstate\n"
    ) == [
        Snapshot(7, "a] b_iter_7.solverstate.h5", True),
        Resumed(7, "a] b_iter_7.solverstate"),
    ]


def test_lines_without_glogs_head() -> None:
    """As GLOG_log_prefix=0 has them."""
    assert parse(
        "Iteration 5 (4.9 iter/s, 20s/5 iters), loss = 0.5\n"
        "    Train net output #0: loss = 0.25 (* 1 = 0.25 loss)\n"
        "Iteration 5, lr = 0.1\n"
        "Snapshotting to binary proto file x_iter_5.caffemodel\n"
        "Optimization Done.\n"
    ) == [
        TrainLoss(5, 0.5, None),
        TrainOutput(5, 0, "loss", 0.25, 1.0),
        LearningRate(5, 0.1),
        Snapshot(5, "x_iter_5.caffemodel", False),
        Finished(),
    ]


def test_a_number_with_rubbish_after_it_is_no_number() -> None:
    assert parse(f"{GLOG}Iteration 100, loss = 0.3I1124 17:48:36 data\n") == []
    assert parse(f"{GLOG}Iteration 100, loss = 0.3.4\n") == []


def test_seconds_pass_midnight_and_new_year() -> None:
    first, second = parse(
        "I1231 23:59:59.500000 1 solver.cpp:1] Iteration 0, loss = 1\n"
        "I0101 00:00:00.250000 1 solver.cpp:1] Iteration 1, loss = 1\n"
    )
    assert (first.seconds, second.seconds) == (0.0, 0.75)


def test_stamps_with_their_year() -> None:
    first, second = parse(
        "I20171231 23:59:59.500000 1 solver.cpp:1] Iteration 0, loss = 1\n"
        "I20180101 00:00:00.250000 1 solver.cpp:1] Iteration 1, loss = 1\n"
    )
    assert (first.seconds, second.seconds) == (0.0, 0.75)


@pytest.mark.parametrize("stamp", ["I1324 17:48:36.5", "I1124 17:48:3x.500000", "I1124"])
def test_a_line_whose_stamp_is_none(stamp: str) -> None:
    bad, good = parse(
        f"{stamp} 1 solver.cpp:1] Iteration 0, loss = 1\n{GLOG}Iteration 1, loss = 1\n"
    )
    assert (bad.seconds, good.seconds) == (None, 0.0)


def test_events_of_different_types_differ() -> None:
    assert LearningRate(0, 0.0) != TestStart(0, 0)
    assert Error("x") != Fatal("x")
    assert len({TrainLoss(1, 2.0, None), TrainLoss(1, 2.0, None), TrainLoss(1, 2.0, 0.0)}) == 2


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_is_left_as_it_was(collects: bool) -> None:
    assert gc.isenabled()
    try:
        if not collects:
            gc.disable()
        parse_events(LOGS / "train_normal.log")
        assert gc.isenabled() is collects
    finally:
        gc.enable()


def test_windows_line_ends() -> None:
    assert parse(f"{GLOG}Iteration 5, lr = 0.5\r\n") == [LearningRate(5, 0.5)]


# Properties

LINES = [line for name in NAMES for line in (LOGS / name).read_bytes().split(b"\n")]
TELLING = [
    line for line in LINES if b"Iteration" in line or b"output #" in line or line[:1] in b"EF*"
]


@st.composite
def torn_logs(draw: st.DrawFn) -> bytes:
    """Real lines in any order, some cut, some glued, with rubbish between them."""
    pieces = draw(
        st.lists(
            st.one_of(
                st.sampled_from(TELLING).map(lambda line: line + b"\n"),
                st.tuples(st.sampled_from(TELLING), st.integers(0, 120)).map(
                    lambda cut: cut[0][: cut[1]]
                ),
                st.binary(max_size=20),
                st.just(b"\n"),
            ),
            max_size=30,
        )
    )
    return b"".join(pieces)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=300), torn_logs()), st.data())
def test_chunks_change_nothing_and_no_bytes_raise(log: bytes, data: st.DataObject) -> None:
    whole = LogParser().feed(log)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=8)))
    parser, events = LogParser(), []
    for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        events += parser.feed(log[start:end])
    assert repr(events) == repr(whole)  # nan differs from itself, its text does not


PIECES = [
    *(head + end for head in (b"", GLOG.encode()) for end in (b"Iteration 5, loss = nan", b"\r\n")),
    b"I0101 00:00:00.000001 1 solver.cpp:1] Iteration 5 (1 iter/s), loss = -inf\n",
    b"I20180101 00:00:00.000001 1 solver.cpp:1] Iteration 5, loss = 1e-3\n",
    b"I1345 00:00:00.000001 1 solver.cpp:1] Iteration 5, loss = 1\n",
    b"F1124 17:48:36.000001 1 x.cpp:1] no",
    b"Iteration 8, Testing net (#1)\n    Test net output #0: a b = 3 (* x = 3 loss)\n",
    b"\n    Test net output #0: a b = 3\n",
    b"\nlayer {",
    b"] ",
    b"\xff",
]


@st.composite
def edits(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What cuts pieces out of a log, and puts others in their places."""
    changes = draw(
        st.lists(
            st.tuples(st.floats(0, 1), st.integers(0, 200), st.sampled_from([b"", *PIECES])),
            max_size=8,
        )
    )

    def edit(log: bytes) -> bytes:
        for place, length, piece in changes:
            at = int(place * len(log))
            log = log[:at] + piece + log[at + length :]
        return log

    return edit


def check_all_ways(path: Path) -> None:
    """The whole file, its lines one by one and its columns say the same."""
    whole = parse_events(path)
    parser, events = LogParser(), []
    for line in path.read_bytes().splitlines(keepends=True):
        events += parser.feed(line)
    assert repr(events) == repr(whole)
    check_columns(path)


@settings(deadline=None)
@given(st.sampled_from(NAMES), edits())
def test_every_way_of_reading_a_damaged_log_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, edit: Callable[[bytes], bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.log"
    path.write_bytes(edit((LOGS / name).read_bytes()))
    check_all_ways(path)


@settings(deadline=None)
@given(st.data(), edits())
def test_every_way_of_reading_a_damaged_reference_log_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    reference: Path,
    data: st.DataObject,
    edit: Callable[[bytes], bytes],
) -> None:
    logs = sorted((reference / "caffe-logs").glob("train_*.log"))
    path = tmp_path_factory.getbasetemp() / "damaged.log"
    path.write_bytes(edit(data.draw(st.sampled_from(logs)).read_bytes()))
    check_all_ways(path)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_text_is_taken_as_its_bytes(text: str) -> None:
    assert LogParser().feed(text + "\n") is not None


def check_columns(path: Path) -> None:
    """The columns are the events' numbers."""
    events, columns = parse_events(path), parse_columns(path)
    losses, rates = of(TrainLoss, events), of(LearningRate, events)
    tests = of(TestOutput, events)
    wanted = {
        "train_iteration": [e.iteration for e in losses],
        "train_loss": [e.loss for e in losses],
        "train_seconds": [math.nan if e.seconds is None else e.seconds for e in losses],
        "rate_iteration": [e.iteration for e in rates],
        "rate": [e.value for e in rates],
        "test_iteration": [e.iteration for e in tests],
        "test_net": [e.net for e in tests],
        "test_index": [e.index for e in tests],
        "test_name": [e.name for e in tests],
        "test_value": [e.value for e in tests],
    }
    assert columns.keys() == wanted.keys()
    for key, values in wanted.items():
        np.testing.assert_array_equal(columns[key], np.array(values, columns[key].dtype), key)


@pytest.mark.parametrize("name", NAMES)
def test_columns_equal_events(name: str) -> None:
    check_columns(LOGS / name)


@settings(deadline=None)
@given(torn_logs())
def test_columns_equal_events_on_torn_logs(
    tmp_path_factory: pytest.TempPathFactory, log: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "torn.log"
    path.write_bytes(log)
    check_columns(path)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "Iteration 0, loss = 1",
        "Iteration 0, loss = 1\n",
        "    Test net output #0: accuracy = 0.5\n",
        "Iteration 1, Testing net (#0)\n    Test net output #0: a = 0.5\nIteration 1, lr = 2\n",
        "I1231 23:59:59.500000 1 x] Iteration 0, loss = 1\n"
        "I0101 00:00:00.250000 1 x] Iteration 1, loss = 1\n"
        "I20180101 00:00:01.250000 1 x] Iteration 1, loss = 1\n"
        "I0101 00:00:0x.250000 1 x] Iteration 1, loss = 1\n"
        "x] Iteration 1, loss = 1\n",
    ],
)
def test_columns_equal_events_at_the_edges(tmp_path: Path, log: str) -> None:
    path = tmp_path / "caffe.log"
    path.write_text(log)
    check_columns(path)


def test_columns_of_stamps(tmp_path: Path) -> None:
    path = tmp_path / "caffe.log"
    path.write_text(
        "I1231 23:59:59.500000 1 x] Iteration 0, loss = 1\n"
        "I0101 00:00:00.250000 1 x] Iteration 1, loss = 1\n"
        "x] Iteration 2, loss = 1\n"
        "I20180102 00:00:00.250001 1 x] Iteration 3, loss = 1\n"
    )
    seconds = [0.0, 0.75, math.nan, 86400.750001]
    np.testing.assert_array_equal(parse_columns(path)["train_seconds"], seconds)


def test_columns_of_a_normal_run() -> None:
    columns = parse_columns(LOGS / "train_normal.log")
    accuracy = columns["test_value"][columns["test_name"] == "accuracy"]
    assert accuracy.tolist() == [0.0644, 0.981, 0.9864]
    assert columns["train_loss"][-1] == 0.0461941


# Following a growing file


def test_a_follower_reads_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "caffe.log"
    follower = LogFollower(path)
    assert follower.poll() == []
    seen: list[Event] = []
    data = (LOGS / "train_normal.log").read_bytes()
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(data), 1000):
            file.write(data[start : start + 1000])
            seen += follower.poll()
    assert seen == parse_events(LOGS / "train_normal.log")
    assert follower.poll() == []


def test_a_follower_parses_each_byte_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []
    feed = LogParser.feed

    def watched(parser: LogParser, data: bytes) -> list[Event]:
        taken.append(data)
        return feed(parser, data)

    monkeypatch.setattr(LogParser, "feed", watched)
    path = tmp_path / "caffe.log"
    follower = LogFollower(path)
    data = (LOGS / "train_normal.log").read_bytes()
    for end in range(500, len(data), 500):
        path.write_bytes(data[:end])
        follower.poll()
    assert [len(piece) for piece in taken] == [500] * len(range(500, len(data), 500))


def test_a_follower_begins_again_with_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "caffe.log"
    path.write_text(f"{GLOG}Iteration 5, lr = 0.5\n{GLOG}Iteration 6, lr = 0.5\n")
    follower = LogFollower(path)
    assert len(follower.poll()) == 2
    path.write_text(f"{GLOG}Iteration 0, lr = 0.1\n")
    assert follower.poll() == [LearningRate(0, 0.1)]


# Speed


def parse_line_by_line(path: Path) -> list[dict[str, float]]:
    """The usual script: each line's time, and each line against each pattern."""
    iteration = re.compile(r"Iteration (\d+)")
    rate = re.compile(r"lr = ([\d.eE+-]+)")
    output = re.compile(r"(?:Train|Test) net output #\d+: (\S+) = ([\d.eE+-]+)")
    rows, at, lr = [], math.nan, math.nan
    for line in path.read_text().splitlines():
        day, clock = line.split()[:2]
        hours, minutes, seconds = clock.split(":")
        now = datetime.datetime(
            2000, int(day[1:3]), int(day[3:5]), int(hours), int(minutes), int(float(seconds))
        )
        if match := iteration.search(line):
            at = float(match[1])
        if match := rate.search(line):
            lr = float(match[1])
        if match := output.search(line):
            rows.append({"at": at, "t": now.timestamp(), "lr": lr, match[1]: float(match[2])})
    return rows


@pytest.mark.slow
def test_columns_are_read_faster_than_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    lines = [
        f"{GLOG}Iteration {i} (4.9 iter/s, 20.3s/1 iters), loss = 0.359856\n"
        f"{GLOG}    Train net output #0: loss = 0.359856 (* 1 = 0.359856 loss)\n"
        f"{GLOG}Iteration {i}, lr = 0.001\n"
        for i in range(22_200)
    ]
    path.write_text("".join(lines))

    def best(parse: Callable[[Path], object]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            parse(path)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(parse_line_by_line) > 1.3 * best(parse_columns)
