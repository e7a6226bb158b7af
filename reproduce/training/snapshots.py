"""Caffe's snapshots on disk: which one to go on from, and which to remove.

Caffe writes a snapshot in place, the model first and then the solver state; a process killed
meanwhile leaves a torn file. A solver state's last field is `current_step`, which Caffe always
writes: a state that has it is whole, and so is the model written before it. Where a disk is full
for the last kilobytes of a file, Caffe does not see it and goes on after a torn snapshot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf.message import DecodeError

MODEL = "model.caffemodel"
"""A trained net's weights in its trial's folder, where they are kept."""

_NAME = re.compile(r"_iter_(\d{1,18})\.(?:caffemodel|solverstate)")


@dataclass(frozen=True)
class Snapshot:
    """A whole snapshot."""

    iteration: int
    state: Path
    model: Path


class Snapshots:
    """The snapshots of one attempt, `<folder>/<prefix>_iter_<n>.{caffemodel,solverstate}`."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix

    def at(self, iteration: int) -> Snapshot:
        """The snapshot of an iteration, whether it exists or not."""
        stem = f"{self._prefix}_iter_{iteration}"
        state, model = (self._folder / f"{stem}.{kind}" for kind in ("solverstate", "caffemodel"))
        return Snapshot(iteration, state, model)

    def newest(self, limit: int) -> Snapshot | None:
        """The newest whole snapshot up to an iteration; removes those that are torn or older."""
        newest = None
        for iteration in sorted(self._iterations(), reverse=True):
            snapshot = self.at(iteration)
            if newest is None and iteration <= limit and is_whole(snapshot):
                newest = snapshot
            else:
                _remove(snapshot)
        return newest

    def remove_before(self, iteration: int) -> None:
        """Remove the snapshots older than an iteration's, if that one is whole."""
        older = [other for other in self._iterations() if other < iteration]
        if older and is_whole(self.at(iteration)):
            for other in older:
                _remove(self.at(other))

    def remove_all(self) -> None:
        """Remove every snapshot of the attempt."""
        for iteration in self._iterations():
            _remove(self.at(iteration))

    def any_torn(self) -> bool:
        """Whether a snapshot was begun and not written to its end."""
        return not all(is_whole(self.at(iteration)) for iteration in self._iterations())

    def largest(self) -> int:
        """Bytes of the largest snapshot that is there; 0 without any."""
        return max(map(snapshot_bytes, map(self.at, self._iterations())), default=0)

    def _iterations(self) -> set[int]:
        found = set()
        for path in self._folder.glob(f"{self._prefix}_iter_*"):
            if match := _NAME.fullmatch(path.name, len(self._prefix)):
                found.add(int(match[1]))
        return found


def is_whole(snapshot: Snapshot) -> bool:
    """Whether both files parse, belong to the iteration and were written to their end."""
    try:
        state = caffe_pb2.SolverState.FromString(snapshot.state.read_bytes())
        if state.iter != snapshot.iteration or not state.HasField("current_step"):
            return False
        model = caffe_pb2.NetParameter.FromString(snapshot.model.read_bytes())
    except (OSError, DecodeError):
        return False
    return len(model.layer) > 0


def snapshot_bytes(snapshot: Snapshot) -> int:
    """Size of a snapshot's files, as far as they are there."""
    files = (snapshot.state, snapshot.model)
    return sum(path.stat().st_size for path in files if path.exists())


def remove_model(folder: Path) -> None:
    """Remove the model of a trial's folder, if it kept one; its result stays."""
    (folder / MODEL).unlink(missing_ok=True)


def _remove(snapshot: Snapshot) -> None:
    """The state goes first: a model without a state is no snapshot."""
    snapshot.state.unlink(missing_ok=True)
    snapshot.model.unlink(missing_ok=True)
