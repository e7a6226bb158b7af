"""A folder with everything that a malformed file may refer to, and the judge of a fatal line."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.blob import to_proto
from tests.conformance.bad_input.databases import write_good
from tests.conformance.bad_input.fault import Fault
from tests.conformance.bad_input.nets import NET
from tests.conformance.bad_input.solvers import SOLVER
from tests.conformance.commands import Command
from tests.conformance.logs.normalize import read

Judge = Callable[..., None]
SHAPES = {"conv": [(6, 1, 3, 3), (6,)], "fc": [(10, 54), (10,)]}


def _model(**shapes: list[tuple[int, ...]]) -> caffe_pb2.NetParameter:
    net = caffe_pb2.NetParameter(name="small")
    for name, blobs in (SHAPES | shapes).items():
        arrays = [np.full(shape, 0.01, dtype=np.float32) for shape in blobs]
        net.layer.add(name=name, blobs=[to_proto(array) for array in arrays])
    return net


def _state(model: str, *shapes: tuple[int, ...]) -> bytes:
    state = caffe_pb2.SolverState(iter=1, learned_net=model, current_step=0)
    state.history.extend(to_proto(np.zeros(shape, dtype=np.float32)) for shape in shapes)
    return bytes(state.SerializeToString())


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good data and models, and bad models."""
    folder = tmp_path_factory.mktemp("stock")
    write_good(folder / "lmdb")
    good = _model().SerializeToString()
    without_values = _model()
    without_values.layer[0].blobs[0].ClearField("data")
    mean = to_proto(np.zeros((1, 3, 4, 4), dtype=np.float32)).SerializeToString()
    for name, content in {
        "good.caffemodel": good,
        "cut.caffemodel": good[: len(good) // 2],
        "cut.caffemodel.h5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "shape.caffemodel": _model(conv=[(6, 1, 5, 5), (6,)]).SerializeToString(),
        "count.caffemodel": _model(conv=[(6, 1, 3, 3)]).SerializeToString(),
        "empty.caffemodel": without_values.SerializeToString(),
        "other.solverstate": _state("good.caffemodel", (6, 1, 3, 3)),
        "lost.solverstate": _state("lost.caffemodel", *SHAPES["conv"], *SHAPES["fc"]),
        "cut.solverstate": _state("good.caffemodel", *SHAPES["conv"], *SHAPES["fc"])[:-30],
        "mean": mean,
        "list": b"nope 1\n",
    }.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(stock: Path, tmp_path: Path) -> Path:
    """A folder of one test: the stock, a good net and a good solver."""
    for path in stock.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


@pytest.fixture
def judge(folder: Path, embedded: Command, real: Command) -> Judge:
    """Run a command in both programs: ours ends by one clear line, and real Caffe as expected."""

    def check(fault: Fault, *arguments: str) -> None:
        ours = embedded(*arguments, cwd=folder)
        fatal = [line for line in ours.log.splitlines() if line.startswith("F")]
        assert ours.status == -signal.SIGABRT, ours.log[-2000:]
        assert len(fatal) == 1, ours.log[-2000:]
        for name in fault.names:
            assert re.search(name, fatal[0]), (name, fatal[0])
        for trace in ("Traceback", "a defect of this engine", "Warning: ", 'File "'):
            assert trace not in ours.log, ours.log[-2000:]
        theirs = real(*arguments, cwd=folder)
        assert (
            _as_real(theirs.status, read(theirs.log).fatal, read(ours.log).fatal) == fault.real
        ), (
            theirs.status,
            read(theirs.log).fatal,
            read(ours.log).fatal,
        )

    return check


def _as_real(status: int, theirs: str, ours: str) -> str:
    """How real Caffe took it, in the words of `Fault.real`."""
    # Behind these words real Caffe goes on with what it is made of, or holds.
    start = theirs.partition("(known types")[0].partition(" with shape ")[0].rstrip()
    if status == 0:
        return "accepts"
    if status != -signal.SIGABRT or not start:
        return "crashes"
    return "says" if ours.startswith(start) else "dies"
