"""What a trained net thinks of each image, told by `caffe test` alone, and kept as HDF5.

Works at any size and with any `caffe`: the test net leaves its probabilities and labels to no
layer, so that `caffe test` prints each value as a line of its log (`Batch 3, prob = 0.0512446`).
Caffe prints six significant digits, so a probability is exact to 5·10⁻⁷. What the log says is
believed only where it agrees with the database's labels and with the accuracy that Caffe computed
itself.

Beside the HDF5 file `test.h5` stand `test.prototxt`, the net; while Caffe runs and after a failure
`test.log`; and `test.mark` while a process may live (see `end_orphans`).
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.lmdb_writer import read_lmdb
from prototxt_gen.prediction_net import PredictionNetError, prediction_net_text
from reproduce.files import write_atomically
from reproduce.results.prediction_log import Labels, PredictionError, check_scores, read_scores
from reproduce.training import disk
from reproduce.training.caffe import Caffe
from reproduce.training.log_events import Error, Event, Fatal, Signal
from reproduce.training.outcome import Outcome, is_out_of_memory
from reproduce.training.process import CaffeProcess, Ending

__all__ = ["PredictionError", "Predictions", "largest_divisor", "predict", "read_predictions"]

_LEARNS = {"Convolution", "Deconvolution", "InnerProduct", "BatchNorm", "Scale", "Bias", "PReLU"}
_KEYS = ("net_sha256", "weights_sha256", "database")


@dataclass(frozen=True)
class Predictions:
    """What a net thinks of each image of a database, in the order of its records.

    Attributes:
        probabilities: N × classes, float32, as printed to six significant digits.
        labels: the N true classes.
        net_sha256, weights_sha256: of the test net's prototxt and of the `.caffemodel`.
        trainer: the `caffe` that computed them, with its version.
        database: the LMDB, as seen from the run's folder.
    """

    probabilities: NDArray[np.float32]
    labels: Labels
    net_sha256: str
    weights_sha256: str
    trainer: str
    database: str

    @property
    def predicted(self) -> Labels:
        """The N most probable classes; the lowest among equals."""
        predicted: Labels = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def errors(self) -> int:
        """Images whose most probable class is not the true one."""
        return int((self.predicted != self.labels).sum())

    @property
    def accuracy(self) -> float:
        """The share of images whose most probable class is the true one."""
        return 1 - self.errors / len(self.labels)


def predict(
    target: Path,
    run_folder: Path,
    net_text: str,
    weights: Path,
    database: str,
    caffe: Caffe,
    *,
    batch_limit: int = 100,
    timeout_s: float | None = None,
    stop: threading.Event | None = None,
) -> Predictions:
    """The predictions of a trained net on a database; read from `target` if they are there.

    Args:
        target: the HDF5 file, inside `run_folder`; its folder is made if missing. One of another
            net, other weights or another database is replaced.
        run_folder: where `caffe` runs, and what the paths in the prototxt are relative to.
        net_text: prototxt of the training net.
        weights: the `.caffemodel`.
        database: the LMDB, as seen from `run_folder`.
        caffe: what computes. Another `caffe` than last time is no reason to compute again: they
            agree to 1e-5.
        batch_limit: the most images of an iteration; the largest divisor of the database's size
            up to here is taken, because Caffe would go on with the first image again.
        timeout_s: seconds after which Caffe is ended; None for no limit.
        stop: when set, Caffe is ended and PredictionError tells `STOPPED`.

    Raises:
        PredictionError: if an input is no such thing, Caffe fails, or its log is not whole, holds
            nan or contradicts the database.
        OSError: if the files cannot be written, though there is space.
    """
    try:
        prefix = target.relative_to(run_folder).with_suffix("")
    except ValueError as error:
        raise PredictionError(f"{target} is not inside {run_folder}") from error
    labels = _labels(run_folder / database)
    batch = largest_divisor(len(labels), batch_limit)
    try:
        net = prediction_net_text(net_text, database, batch)
    except PredictionNetError as error:
        raise PredictionError(f"predictions on {database}: {error}") from error
    asked = (_sha256(net.encode()), _weights_sha256(weights, net), database)
    if (stored := _stored(target)) and tuple(getattr(stored, key) for key in _KEYS) == asked:
        return stored

    log = target.with_suffix(".log")
    iterations = len(labels) // batch
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target.with_suffix(".prototxt"), net)
        log.unlink(missing_ok=True)
        arguments = [
            "test",
            f"--model={prefix}.prototxt",
            f"--weights={os.path.relpath(weights, run_folder)}",
            f"--iterations={iterations}",
        ]
        launch = caffe.launch(run_folder, arguments, f"{prefix}.prototxt")
        complaints: list[str] = []
        with CaffeProcess(
            launch.argv,
            cwd=run_folder,
            env=caffe.environment(os.environ),
            log=log,
            mark=target.with_suffix(".mark"),
            timeout_s=timeout_s,
            stop=stop,
            stop_command=launch.stop,
        ) as process:
            for event in process.events():
                _note(event, complaints)
        _require_end(process.ending, complaints, log, run_folder, timeout_s)
        scores = read_scores(log, iterations, batch)
        check_scores(scores, labels, log, database)
        probabilities = scores.probabilities.astype(np.float32)
        predictions = Predictions(probabilities, labels, *asked[:2], str(caffe), database)
        _write(target, predictions)
    except OSError as error:
        if not disk.is_full(error):
            raise
        raise PredictionError(disk.no_space(run_folder), Outcome.STOPPED) from error
    log.unlink()  # all that it says of the images is in the file
    return predictions


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` ≥ 1 that is at most `limit` ≥ 1."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)


def read_predictions(path: Path) -> Predictions:
    """Read what `predict` stored. Raises PredictionError if the file is missing or another's."""
    try:
        with h5py.File(io.BytesIO(path.read_bytes())) as file:
            attributes = {key: str(file.attrs[key]) for key in (*_KEYS, "trainer")}
            return Predictions(file["probabilities"][()], file["labels"][()], **attributes)
    except (OSError, KeyError) as error:
        reason = getattr(error, "strerror", None) or "no file of predictions"
        raise PredictionError(f"{path}: {reason}; compute the predictions again") from error


def _write(path: Path, predictions: Predictions) -> None:
    content = io.BytesIO()  # in memory: HDF5 crashes where a disk is full
    with h5py.File(content, "w", libver=("earliest", "v108"), track_order=False) as file:
        file.create_dataset("probabilities", data=predictions.probabilities, dtype="<f4")
        file.create_dataset("labels", data=predictions.labels, dtype="<i8")
        for key in (*_KEYS, "trainer"):
            file.attrs[key] = getattr(predictions, key)
    write_atomically(path, content.getbuffer())


def _stored(path: Path) -> Predictions | None:
    try:
        return read_predictions(path)
    except PredictionError:
        return None


# Inputs


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _labels(database: Path) -> Labels:
    """The labels of an LMDB in the order in which Caffe reads them."""
    try:
        labels = np.array([datum.label for _, datum in read_lmdb(database)], dtype=np.int64)
    except (DataError, DecodeError) as error:
        raise PredictionError(f"{database}: no LMDB of Caffe's images ({error})") from error
    if not labels.size:
        raise PredictionError(f"{database}: holds no image to predict")
    return labels


def _weights_sha256(weights: Path, net: str) -> str:
    """The hash of a `.caffemodel`, which must have every layer of the net that learns.

    Caffe would leave a layer that is not there at its random start, without a word.
    """
    try:
        data = weights.read_bytes()
        model = caffe_pb2.NetParameter.FromString(data)
    except OSError as error:
        raise PredictionError(f"{weights}: cannot be read ({error.strerror})") from error
    except DecodeError as error:
        raise PredictionError(f"{weights}: no whole caffemodel") from error
    there = {layer.name for layer in model.layer if layer.blobs}
    layers = text_format.Parse(net, caffe_pb2.NetParameter()).layer
    missing = [x.name for x in layers if x.type in _LEARNS and x.name not in there]
    if missing:
        raise PredictionError(f"{weights}: no weights of layer {missing[0]}; it is another net's")
    return _sha256(data)


# The process's end


def _note(event: Event, complaints: list[str]) -> None:
    if isinstance(event, Fatal):
        complaints.insert(0, event.message)
    elif isinstance(event, Error | Signal):
        complaints.append(event.message)


def _require_end(
    ending: Ending, complaints: list[str], log: Path, run_folder: Path, timeout_s: float | None
) -> None:
    """Raise PredictionError unless Caffe ended by itself, without a complaint."""
    said = "; ".join(complaints[:2]) or ending.how
    if ending.reason == "stopped":
        raise PredictionError("asked to stop", Outcome.STOPPED)
    if ending.reason == "timeout":
        raise PredictionError(f"caffe test: no end within {timeout_s or 0:g} s", Outcome.TIMEOUT)
    if ending.returncode == 0:
        return
    if ending.kernel_out_of_memory or any(map(is_out_of_memory, complaints)):
        raise PredictionError(f"caffe test: out of memory ({said})", Outcome.OUT_OF_MEMORY)
    if disk.free_bytes(run_folder) < disk.LEAST:
        raise PredictionError(disk.no_space(run_folder), Outcome.STOPPED)
    raise PredictionError(f"caffe test failed: {said} (see {log})")
