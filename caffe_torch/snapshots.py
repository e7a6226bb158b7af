"""Solver states: where a solver stood, as BINARYPROTO or, where the name ends in `.h5`, as HDF5."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch import hdf5_snapshots, prototext
from caffe_torch.blob import Array, Shape, count, from_proto, to_proto
from caffe_torch.log import FatalError, info


@dataclass(frozen=True)
class State:
    """What a solverstate holds. Source: SolverState in caffe.proto.

    Attributes:
        iteration: how often the weights had been updated.
        learned_net: the path of the weights' file, as it was given; None where it is not said.
        step: how many steps the learning rate had taken (step, multistep).
        history: the update rule's arrays.
    """

    iteration: int
    learned_net: str | None
    step: int
    history: list[Array]


def save(path: str, state: State) -> None:
    """Write a solver state; wholly or not at all.

    Raises:
        FatalError: the path cannot be written.
    """
    model = state.learned_net or ""
    if path.endswith(".h5"):
        hdf5_snapshots.save_state(path, state.iteration, model, state.step, state.history)
        return
    proto = caffe_pb2.SolverState(iter=state.iteration, learned_net=model, current_step=state.step)
    proto.history.extend(map(to_proto, state.history))
    prototext.write_binary(path, proto)


def load(path: str) -> State:
    """Read a solver state.

    Raises:
        FatalError: the file is missing or damaged.
    """
    if path.endswith(".h5"):
        return State(*hdf5_snapshots.load_state(path))
    proto = prototext.read_binary(path, caffe_pb2.SolverState(), "sgd_solver.cpp:322")
    learned_net = proto.learned_net if proto.HasField("learned_net") else None
    history = [from_proto(blob) for blob in proto.history]
    return State(proto.iter, learned_net, proto.current_step, history)


def fit(path: str, state: State, shapes: list[Shape]) -> list[Array]:
    """The history of a state that was read, in the shapes that a solver keeps.

    Raises:
        FatalError: it is of another net or another type of solver.
    """
    hdf5 = path.endswith(".h5")
    found, wanted = len(state.history), len(shapes)
    if found != wanted:
        size = "state_history_size" if hdf5 else "state.history_size()"
        raise FatalError(
            f"sgd_solver.cpp:{356 if hdf5 else 334}",
            f"Check failed: {size} == history_.size() ({found} vs. {wanted}) Incorrect length of "
            f"history blobs. ({path} is of another net or another solver type)",
        )
    if not hdf5:
        info("sgd_solver.cpp:336", "SGDSolver: restoring history")
    for i, (values, shape) in enumerate(zip(state.history, shapes, strict=True)):
        if hdf5:
            hdf5_snapshots.check_shape(values.shape, shape, f"blob {i} in history of {path}")
        elif values.size != count(shape):
            raise FatalError(
                "blob.cpp:470",
                "Check failed: ShapeEquals(proto) shape mismatch (reshape not set): the history "
                f"in {path} is of another net",
            )
    return [values.reshape(shape) for values, shape in zip(state.history, shapes, strict=True)]


def check_prefix(param: Any) -> None:
    """Check, before anything is computed, that there is a place for a solver's snapshots.

    Raises:
        FatalError: no prefix, or a folder that is missing or not writable.
    """
    if param.snapshot and not param.HasField("snapshot_prefix"):
        raise FatalError(
            "solver.cpp:50",
            "Check failed: param_.has_snapshot_prefix() In solver params, snapshot was "
            "specified but snapshot_prefix was not; set snapshot_prefix",
        )
    folder = Path(f"{param.snapshot_prefix}x").parent
    if param.snapshot and not os.access(folder, os.W_OK | os.X_OK):
        raise FatalError(
            "solver.cpp:448",
            f"Cannot write to snapshot prefix '{param.snapshot_prefix}'.  Make sure that the "
            "directory exists and is writable.",
        )
