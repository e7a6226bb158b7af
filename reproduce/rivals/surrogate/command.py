"""A program like `caffe` that predicts instead of training: same flags, same log, same files.

    CAFFE='python -m reproduce.rivals.surrogate.command --authors-data /data/authors
           --data-set svhn --seed 0' metaqnn search svhn

It reads the solver's net back into an architecture, and tells the curve of it after each
`test_interval`, whatever the images: what they are is not looked at. A net that fails to learn is
at chance level; so is one that learns, at a learning rate above the first at which it does.
The losses are -ln(accuracy), for want of better. Snapshots name the net's layers and have no
weights. Each process fits the surrogate again; studies call it in-process.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from data_prep.errors import DataError
from prototxt_gen.read import ReadError, read_net
from prototxt_gen.shapes import ShapeError
from reproduce.audit.authors_data.figure_a2 import CHANCE
from reproduce.audit.authors_data.files import EPOCHS, read_authors_data
from reproduce.rivals.surrogate.choice import surrogate_name
from reproduce.rivals.surrogate.data import DATA_SETS, training_data
from reproduce.run import RunError
from reproduce.search.released_files import ReleasedFileError

if TYPE_CHECKING:
    from reproduce.rivals.surrogate.surrogate import Curve, Surrogate

_RATE_SLACK = 1.05  # solver files round their learning rates to six decimals


class CommandError(RuntimeError):
    """What Caffe would die of: a line of the log, of severity F."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 1 after a line of severity F."""
    options = _parser().parse_args(words)
    try:
        name = surrogate_name(options.data_set, options.seed, options.failure_share)
    except RunError as error:
        sys.exit(f"ERROR: {error}")
    if options.version:
        print(name)
        return
    if options.action != "train" or options.solver is None:
        sys.exit("ERROR: a surrogate can only `train --solver=FILE`; it has no weights to test")
    try:
        _train(options, name)
    except CommandError as error:
        _die(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="surrogate-caffe", allow_abbrev=False)
    parser.add_argument("--authors-data", type=Path, help="folder of the authors' four files")
    parser.add_argument("--data-set", choices=DATA_SETS, default="cifar10")
    parser.add_argument("--seed", type=int, default=0, help="of the surrogate and its curves")
    parser.add_argument("--failure-share", type=float, help="a constant one instead of its own")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("action", nargs="?")
    parser.add_argument("--solver")
    parser.add_argument("--snapshot", help="solver state to go on from")
    parser.add_argument("--weights", help="passed over: there are none")
    parser.add_argument("--gpu", help="passed over: none is used")
    return parser


def _train(options: argparse.Namespace, name: str) -> None:
    stop = _Stop()
    solver = _read_solver(Path(options.solver))
    net = _read(Path(solver.net))
    try:
        architecture = read_net(net)
        surrogate = _surrogate(options)
        curve = surrogate.curve(architecture)
    except (ReadError, ShapeError) as error:
        raise CommandError(f"{solver.net}: {' '.join(str(error).split())}") from None
    _say("surrogate.py:1", f"Predicted by the {name}")
    if curve.problem is not None:
        _say("surrogate.py:2", f"Out of the surrogate's range: {curve.problem}", "W")
    begin = 0
    if options.snapshot is not None:
        _say("caffe.cpp:235", f"Resuming from {options.snapshot}")
        begin = _iteration(Path(options.snapshot))
    _Training(solver, net, curve, stop).run(begin)


def _surrogate(options: argparse.Namespace) -> Surrogate:
    from reproduce.rivals.surrogate.surrogate import Surrogate

    if options.authors_data is None:
        raise CommandError("--authors-data must name the folder of the authors' files")
    try:
        data = training_data(read_authors_data(options.authors_data), options.data_set)
        return Surrogate.fit(data, options.seed, options.failure_share)
    except (DataError, ReleasedFileError, ValueError) as error:
        raise CommandError(str(error)) from None


class _Stop:
    """Whether SIGINT has come, on which Caffe writes a snapshot and ends."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True


@dataclass
class _Training:
    """One process of training, in the order in which Caffe displays, tests and snapshots."""

    solver: caffe_pb2.SolverParameter
    net: str
    curve: Curve
    stop: _Stop

    def run(self, iteration: int) -> None:
        solver = self.solver
        _say("caffe.cpp:239", "Starting Optimization")
        while iteration < solver.max_iter:
            if self._tests_at(iteration) and (iteration > 0 or solver.test_initialization):
                self._test(iteration)
            if self.stop.asked:
                self._snapshot(iteration)
                _say("solver.cpp:311", "Optimization stopped early.")
                _say("caffe.cpp:250", "Optimization Done.")
                return
            if solver.display and iteration % solver.display == 0:
                self._display(iteration)
            iteration += 1
            if solver.snapshot and iteration % solver.snapshot == 0:
                self._snapshot(iteration)
        if not solver.snapshot or iteration % solver.snapshot:
            self._snapshot(iteration)
        if self._tests_at(iteration):
            self._test(iteration)
        _say("solver.cpp:332", "Optimization Done.")
        _say("caffe.cpp:250", "Optimization Done.")

    def _tests_at(self, iteration: int) -> bool:
        interval = int(self.solver.test_interval)
        return interval > 0 and iteration % interval == 0

    def _accuracy(self, iteration: int) -> float:
        """The curve's at the epoch that has ended; after 20 epochs the last one's."""
        epoch = iteration // max(1, int(self.solver.test_interval))
        rate = _RATE_SLACK * self.curve.learning_rate  # 0 if it does not learn
        if epoch == 0 or self.solver.base_lr > rate:
            return CHANCE
        return self.curve.accuracies[min(epoch, EPOCHS) - 1]

    def _display(self, iteration: int) -> None:
        loss = -math.log(self._accuracy(iteration))
        _say("solver.cpp:239", f"Iteration {iteration} (1 iter/s, 1s/1 iters), loss = {loss:.6g}")
        _say(
            "solver.cpp:258", f"    Train net output #0: loss = {loss:.6g} (* 1 = {loss:.6g} loss)"
        )
        rate = self.solver.base_lr
        _say("sgd_solver.cpp:112", f"Iteration {iteration}, lr = {rate:.6g}")

    def _test(self, iteration: int) -> None:
        accuracy = self._accuracy(iteration)
        loss = -math.log(accuracy)
        _say("solver.cpp:347", f"Iteration {iteration}, Testing net (#0)")
        _say("solver.cpp:414", f"    Test net output #0: accuracy = {accuracy:.6g}")
        _say("solver.cpp:414", f"    Test net output #1: loss = {loss:.6g} (* 1 = {loss:.6g} loss)")

    def _snapshot(self, iteration: int) -> None:
        stem = f"{self.solver.snapshot_prefix}_iter_{iteration}"
        model, state = f"{stem}.caffemodel", f"{stem}.solverstate"
        layers = text_format.Parse(self.net, caffe_pb2.NetParameter()).layer
        weights = caffe_pb2.NetParameter(
            name="surrogate",
            layer=[caffe_pb2.LayerParameter(name=x.name, type=x.type) for x in layers],
        )
        solver = caffe_pb2.SolverState(iter=iteration, learned_net=model, current_step=0)
        _say("solver.cpp:464", f"Snapshotting to binary proto file {model}")
        _write(Path(model), weights.SerializeToString())
        _say("sgd_solver.cpp:284", f"Snapshotting solver state to binary proto file {state}")
        _write(Path(state), solver.SerializeToString())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {path}: {_reason(error)}") from None


def _read_solver(path: Path) -> caffe_pb2.SolverParameter:
    try:
        solver = text_format.Parse(_read(path), caffe_pb2.SolverParameter())
    except text_format.ParseError as error:
        raise CommandError(f"{path} is no solver prototxt: {error}") from None
    if not solver.net or solver.max_iter < 1:
        raise CommandError(f"{path} must name its net and max_iter")
    return solver


def _iteration(path: Path) -> int:
    try:
        return int(caffe_pb2.SolverState.FromString(path.read_bytes()).iter)
    except (OSError, DecodeError) as error:
        raise CommandError(f"cannot read the solver state {path}: {_reason(error)}") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())


def _say(place: str, message: str, severity: str = "I") -> None:
    """A line of glog on stderr; like glog, it does not mind a full disk."""
    now = time.time()
    stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1e6):06d}"
    line = f"{severity}{stamp} {os.getpid():5d} {place}] {message}\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())


def _die(message: str) -> NoReturn:
    _say("surrogate.py:3", message, "F")
    sys.exit(1)


if __name__ == "__main__":
    main()
