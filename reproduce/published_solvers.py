"""The solvers that were published with the authors' nets, and solver files that the user names.

`published_solvers.csv` has the figures of the released code's `static/prototxt` and
`static/solver`: of each net the SHA-256 of its file, the rows of the tables whose architecture it
is, its batches, its data layer's mirror and crop, its dropout ratios, and its solver's fields.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2

from reproduce.published_files import PublishedFileError, read_text

_LEAST_INTERVAL = 10
"""How many times more often than asked for a net is tested at most, so that Caffe tests it last."""


@dataclass(frozen=True)
class Solver:
    """The fields of a solver that tell how a net is trained, in iterations, named as in Caffe.

    `test_interval` divides `max_iter`; `asked_interval` is what the file says, None if nothing.
    """

    source: str
    type: str
    base_lr: float
    momentum: float
    momentum2: float
    delta: float
    weight_decay: float
    lr_policy: str
    gamma: float
    stepsize: int | None
    stepvalues: tuple[int, ...]
    max_iter: int
    test_iter: int | None
    test_interval: int
    asked_interval: int | None

    def training(self) -> dict[str, Any]:
        """The fields of `FinalTraining` that train so."""
        iterations: dict[str, Any] = {
            "max_iter": self.max_iter,
            "test_interval": self.test_interval,
            "stepvalues": self.stepvalues,
        }
        if self.stepsize is not None:
            iterations["stepsize"] = self.stepsize
        tests = self.max_iter // self.test_interval
        return {
            "solver": self.type,
            "base_lr": self.base_lr,
            "momentum": self.momentum,
            "momentum2": self.momentum2,
            "delta": self.delta,
            "weight_decay": self.weight_decay,
            "lr_gamma": self.gamma,
            "lr_step_epochs": tests,
            "rates": (),
            "epochs": tests,
            "iterations": iterations,
        }


@dataclass(frozen=True)
class PublishedFile:
    """A net prototxt of the released code, with its solver if that was published.

    `nets` are ids of `reproduce.paper`, those of the tables first; `crop` is 0 where the data layer
    has none; `dropout` are its ratios, in order.
    """

    name: str
    nets: tuple[str, ...]
    sha256: str
    batch: int
    test_batch: int
    mirror: bool
    crop: int
    dropout: tuple[float, ...]
    solver: Solver | None


def _read_files() -> tuple[PublishedFile, ...]:
    path = Path(__file__).parent / "published_solvers.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedFile(
                name=row["file"],
                nets=tuple(row["nets"].split()),
                sha256=row["sha256"],
                batch=int(row["batch"]),
                test_batch=int(row["test_batch"]),
                mirror=row["mirror"] == "true",
                crop=int(row["crop"] or 0),
                dropout=tuple(map(float, row["dropout"].split())),
                solver=_of_row(row) if row["source"] else None,
            )
            for row in csv.DictReader(file)
        )


_DEFAULTS = {"momentum2": 0.999, "delta": 1e-8}  # caffe.proto


def _of_row(row: dict[str, str]) -> Solver:
    interval = int(row["test_interval"])
    return Solver(
        source=row["source"],
        type=row["type"],
        base_lr=float(row["base_lr"]),
        momentum=float(row["momentum"]),
        weight_decay=float(row["weight_decay"]),
        lr_policy=row["lr_policy"],
        gamma=float(row["gamma"]),
        stepsize=int(row["stepsize"]) if row["stepsize"] else None,
        stepvalues=tuple(map(int, row["stepvalues"].split())),
        max_iter=int(row["max_iter"]),
        test_iter=int(row["test_iter"]),
        test_interval=interval,
        asked_interval=interval,
        **_DEFAULTS,
    )


FILES = _read_files()
"""Every net prototxt of the released code."""


def file_of(net: str) -> PublishedFile | None:
    """The file of a published net, by the net's id; None where none was published."""
    return next((file for file in FILES if net in file.nets), None)


def file_with(sha256: str) -> PublishedFile | None:
    """The published file of this content, if it is one."""
    return next((file for file in FILES if file.sha256 == sha256), None)


def own_training(net: str, preset: str) -> dict[str, Any]:
    """The fields of `FinalTraining` that a net's own published solver and prototxt say.

    None in the preset `paper`, nor of a net whose files were not published.
    """
    file = None if preset == "paper" else file_of(net)
    if file is None:
        return {}
    return {
        "gap": "released",
        "dropout": "released",
        "dropout_ratios": file.dropout,
        "batch": file.batch,
        **(file.solver.training() if file.solver else {}),
    }


def data_set_of(name: str, sha256: str) -> str | None:
    """The data set that a net's file is for, by its content or by its name; None if unknown."""
    known = file_with(sha256)
    match = re.match(r"(mnist|cifar100|cifar10|svhn)(?![a-z0-9])", known.name if known else name)
    return match[1] if match else None


def read_solver_file(path: Path, epoch: int) -> Solver:
    """Read a solver file.

    Args:
        path: the file.
        epoch: iterations after which to test, where the file does not say it.

    Raises:
        PublishedFileError: if it is unreadable, or has what this package cannot train by.
    """
    _, said = read_text(path, caffe_pb2.SolverParameter())
    if said.HasField("solver_type"):  # of Caffe's old format
        type_ = caffe_pb2.SolverParameter.SolverType.Name(said.solver_type)
        type_ = {"ADAM": "Adam"}.get(type_, type_)
    else:
        type_ = said.type
    if problem := _problem(said, type_):
        raise PublishedFileError(f"{path}: {problem}")
    asked = said.test_interval or None
    interval = _divisor(said.max_iter, asked or epoch)
    if interval * _LEAST_INTERVAL < min(asked or epoch, said.max_iter):
        raise PublishedFileError(
            f"{path}: max_iter: Caffe tests after the last iteration only where test_interval "
            f"divides it, and no number near {asked or epoch} divides {said.max_iter}"
        )
    step = said.lr_policy == "step"
    return Solver(
        source=path.name,
        type=type_,
        base_lr=_shortest(said.base_lr),
        momentum=_shortest(said.momentum),
        momentum2=_shortest(said.momentum2),
        delta=_shortest(said.delta),
        weight_decay=_shortest(said.weight_decay),
        lr_policy=said.lr_policy,
        gamma=1.0 if said.lr_policy == "fixed" else _shortest(said.gamma),
        stepsize=said.stepsize if step else None,
        stepvalues=tuple(said.stepvalue) if said.lr_policy == "multistep" else (),
        max_iter=said.max_iter,
        test_iter=said.test_iter[0] if said.test_iter else None,
        test_interval=interval,
        asked_interval=asked,
    )


def _problem(said: caffe_pb2.SolverParameter, type_: str) -> str | None:
    """What a solver asks for that cannot be had."""
    steps = list(said.stepvalue)
    policies = {"fixed": True, "step": said.stepsize > 0, "multistep": bool(steps)}
    return next(
        (
            text
            for text, wrong in {
                f"type: Adam or SGD can be had, not {type_}": type_ not in ("Adam", "SGD"),
                f"lr_policy: fixed, step or multistep can be had, not {said.lr_policy!r}": (
                    said.lr_policy not in policies
                ),
                f"lr_policy {said.lr_policy}: its stepsize or stepvalue is missing": (
                    not policies.get(said.lr_policy, True)
                ),
                "stepvalue: the values must be positive and ascend": (
                    steps != sorted(steps) or any(step < 1 for step in steps)
                ),
                "gamma: it must be positive": (
                    said.lr_policy in ("step", "multistep") and not said.gamma > 0
                ),
                "max_iter: it must be positive": said.max_iter < 1,
                "base_lr: it must be positive": not said.base_lr > 0,
                "weight_decay: it must not be negative": not said.weight_decay >= 0,
                f"momentum: it is in [0, 1), not {said.momentum:g}": not 0 <= said.momentum < 1,
                f"momentum2: it is in [0, 1), not {said.momentum2:g}": not 0 <= said.momentum2 < 1,
                "delta: it must be positive": not said.delta > 0,
                "test_interval: it must not be negative": said.test_interval < 0,
                "iter_size: it cannot be kept": said.iter_size != 1,
                "clip_gradients: it cannot be kept": said.clip_gradients >= 0,
                "regularization_type: only L2 can be had": said.regularization_type != "L2",
            }.items()
            if wrong
        ),
        None,
    )


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of a number that is no larger than a limit."""
    return max(
        d
        for low in range(1, min(limit, int(number**0.5)) + 1)
        if number % low == 0
        for d in (low, number // low)
        if d <= limit
    )


def _shortest(value: float) -> float:
    """The shortest number that Caffe's single precision reads as this one."""
    return float(str(np.float32(value)))
