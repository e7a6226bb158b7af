"""The nets, solvers and processes that engine.py measures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.lmdb_writer import write_lmdb
from prototxt_gen.net import Activation, DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.shapes import Padding, costs
from prototxt_gen.solver import TrainingScheme, solver_text

EMBEDDED, REAL, PLAIN = "caffe-torch", "real Caffe", "plain PyTorch"


@dataclass(frozen=True)
class Net:
    """A net to measure: notation, image (C, H, W), padding."""

    notation: str
    image: tuple[int, int, int]
    padding: Padding

    @property
    def training_flop(self) -> float:
        """FLOP of one image forward and backward; the first layer has no input gradient."""
        macs = [cost.macs for cost in costs(parse(self.notation), self.image, self.padding)]
        return 2.0 * (3 * sum(macs) - macs[0])


CIFAR = (3, 32, 32)
NETS = {
    "i": Net("[C(240,7,1), P(3,2), C(120,5,2), FC(50), SM(10)]", (1, 28, 28), Padding.VALID),
    "ii": Net(
        "[C(64,3,1), C(128,3,1), P(5,3), C(256,3,1), P(3,2), FC(512), FC(128), SM(10)]",
        CIFAR,
        Padding.SAME,
    ),
    "iii": Net(
        "[C(128,1,1), C(512,3,1), C(64,1,1), C(128,3,1), P(2,2), C(256,3,1), P(2,2), "
        "C(512,3,1), P(3,2), SM(10)]",
        CIFAR,
        Padding.SAME,
    ),
}


def write_inputs(folder: Path, net: Net, batch: int, iterations: int, gpu: bool) -> None:
    """Write `lmdb`, `net.prototxt` and `solver.prototxt`; the first iteration is a warm-up."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(4 * batch, *net.image), dtype=np.uint8)
    labels = rng.integers(10, size=len(images))
    write_lmdb(folder / "lmdb", [(images, labels)])
    data = DataSource("lmdb", "lmdb", train_batch=batch, test_batch=batch, scale=1 / 256)
    style = NetStyle(padding=net.padding, activation=Activation.ELU)
    text = net_text(parse(net.notation), net.image, data, style, "benchmark")
    (folder / "net.prototxt").write_text(text, encoding="utf-8")
    scheme = TrainingScheme(
        solver_type="Adam",
        base_lr=0.001,
        momentum2=0.999,
        max_iter=iterations + 1,
        test_iter=1,
        test_interval=10**9,
        test_initialization=False,
        display=iterations,
        random_seed=0,
        solver_mode="GPU" if gpu else "CPU",
    )
    solver = solver_text(scheme, net="net.prototxt", snapshot_prefix="snapshot")
    (folder / "solver.prototxt").write_text(solver, encoding="utf-8")


@dataclass(frozen=True)
class Measured:
    """One process: seconds between its marks and from its start to the first, peak bytes."""

    seconds: float
    start_up: float
    peak: int


class Process:
    """A training process, watched for the lines after its first and its last iteration.

    Args:
        command: what to run.
        marks: regular expressions of the two lines.
        folder: where it runs.
        threads: of every BLAS and of PyTorch.
    """

    def __init__(
        self, command: Sequence[str], marks: tuple[str, str], folder: Path, threads: int
    ) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        counts = dict.fromkeys(names, str(threads))
        repository = str(Path(__file__).resolve().parent.parent)
        self._marks, self._command = marks, command
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | counts | {"GLOG_logtostderr": "1", "PYTHONPATH": repository},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._times: list[float] = []
        self._lines: deque[str] = deque(maxlen=6)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Note when each mark's line comes; several processes are read at once."""
        for raw in self._process.stderr or ():
            line = raw.decode(errors="replace")
            self._lines.append(line)
            found = len(self._times)
            if found < len(self._marks) and re.search(self._marks[found], line):
                self._times.append(time.perf_counter())

    def finish(self) -> Measured:
        """Wait for the end.

        Raises:
            SystemExit: with the log's end, if the command fails.
        """
        self._reader.join()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if status or len(self._times) < len(self._marks):
            end = "".join(self._lines)
            raise SystemExit(f"{self._command} failed (status {status}); its log ends:\n{end}")
        first, last = self._times
        return Measured(last - first, first - self._began, usage.ru_maxrss * 1024)


def start(
    variant: str, folder: Path, net: Net, batch: int, iterations: int, threads: int,
    gpu: int | None, precision: str, caffe: Path | None,
) -> Process:  # fmt: skip
    """Start one variant's training in a folder of `write_inputs`."""
    if variant == PLAIN:
        loop = str(Path(__file__).with_name("plain_loop.py"))
        device = "cpu" if gpu is None else f"cuda:{gpu}"
        sizes = (",".join(map(str, net.image)), batch, iterations, threads, device, precision)
        command = [sys.executable, loop, "net.prototxt", *map(str, sizes)]
        return Process(command, ("^first$", "^last$"), folder, threads)
    program = [str(caffe)] if variant == REAL else [sys.executable, "-m", "caffe_torch"]
    command = [*program, "train", "--solver=solver.prototxt"]
    if gpu is not None:
        command.append(f"--gpu={gpu}")
    if variant == EMBEDDED and precision != "fp32":
        command.append(f"--precision={precision}")
    marks = (r"Iteration 0 .*loss = ", rf"Iteration {iterations} .*loss = ")
    return Process(command, marks, folder, threads)


def real_caffe() -> Path | None:
    """The real `caffe` command, if there is one."""
    repository = Path(__file__).resolve().parent.parent
    caffe = Path(os.environ.get("CAFFE_PREFIX", repository / ".caffe")) / "wrap" / "caffe"
    return caffe.resolve() if caffe.is_file() else None
