"""Our command beside real Caffe's: the same log line for line, the same exit status."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch.blob import to_proto
from caffe_torch.net import Net
from tests.conformance.commands import Command, Run

pytestmark = pytest.mark.conformance


NET = """
name: "lenet_like"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 }
  data_param { source: "train_lmdb" batch_size: 32 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 }
  data_param { source: "val_lmdb" batch_size: 20 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 6 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "drop1" type: "Dropout" bottom: "pool1" top: "pool1"
  dropout_param { dropout_ratio: 0.1 } }
layer { name: "fc1" type: "InnerProduct" bottom: "pool1" top: "fc1"
  inner_product_param { num_output: 20 weight_filler { type: "gaussian" std: 0.0123456789 } } }
layer { name: "elu" type: "ELU" bottom: "fc1" top: "elu" elu_param { alpha: 0.7 } }
layer { name: "fc2" type: "InnerProduct" bottom: "elu" top: "fc2"
  inner_product_param { num_output: 10 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc2" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "top3" type: "Accuracy" bottom: "fc2" bottom: "label" top: "top3"
  include { phase: TEST } accuracy_param { top_k: 3 } }
"""
SOLVER = """
net: "net.prototxt" type: "Adam" base_lr: 0.001 momentum: 0.9 lr_policy: "step" gamma: 0.5
stepsize: 10 weight_decay: 0.0005 display: 5 max_iter: 20 test_iter: 4 test_interval: 10
snapshot: 10 snapshot_prefix: "snap" random_seed: 1 solver_mode: CPU
"""


@pytest.fixture
def folder(tmp_path: Path, write_lmdb: Callable[[Path, int, int], None]) -> Path:
    """A working folder with a net, a solver and two LMDBs."""
    write_lmdb(tmp_path / "train_lmdb", 160, 1)
    write_lmdb(tmp_path / "val_lmdb", 80, 2)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


NUMBER = r"-?(?:nan|inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
OURS_ONLY = ("Engine: caffe_torch",)
TIMED = ("Restarting data prefetching", "Waiting for data")


def _masked(log: str) -> list[str]:
    """The log's lines without time, process, measured values, stack traces, and data wraps.

    When an LMDB wraps or the prefetching is behind, where real Caffe says so is chance.
    """
    lines = []
    for line in log.splitlines():
        if line.startswith("    @ ") or any(text in line for text in OURS_ONLY + TIMED):
            continue
        line = re.sub(r"^([IWEF])\d{4} [\d:.]+ +\d+ ", r"\1 ", line)
        line = re.sub(rf"\({NUMBER} iter/s, {NUMBER}s/", "(SPEED/", line)
        if (
            re.search(r"(output #\d+|loss|lr|Batch|^I caffe.cpp:\d+\]).* = ", line)
            and "lr" not in line
        ):
            line = re.sub(rf"= {NUMBER}", "= N", line)
            line = re.sub(r"\(\* N", "(* 1", line)
        lines.append(
            re.sub(
                rf"([Ll]oss:|time:|Time:|forward:|backward:|pass:|Backward:) {NUMBER}",
                r"\1 N",
                line,
            )
        )
    return lines


def _same_log(ours: Run, real: Run) -> None:
    assert ours.status == real.status == 0, ours.log[-2000:]
    assert _masked(ours.log) == _masked(real.log)
    assert ours.stdout == real.stdout == ""


def test_training_log_line_for_line(folder: Path, embedded: Command, real: Command) -> None:
    arguments = ("train", "-solver", "solver.prototxt")
    _same_log(embedded(*arguments, cwd=folder), real(*arguments, cwd=folder))


def test_resuming_and_finetuning_logs(folder: Path, embedded: Command, real: Command) -> None:
    """Each resumes and finetunes from the other's snapshots."""
    embedded("train", "-solver", "solver.prototxt", cwd=folder)
    longer = folder / "longer.prototxt"
    longer.write_text(SOLVER.replace("max_iter: 20", "max_iter: 30").replace("display: 5", ""))
    renamed = NET.replace('"fc2"', '"fc3"').replace("net.prototxt", "renamed.prototxt")
    (folder / "renamed.prototxt").write_text(renamed)
    tuned = SOLVER.replace("net.prototxt", "renamed.prototxt").replace('"snap"', '"tuned"')
    (folder / "tuned.prototxt").write_text(tuned)
    for arguments in (
        ("train", "--solver=longer.prototxt", "--snapshot=snap_iter_20.solverstate"),
        ("train", "-solver", "tuned.prototxt", "-weights", "snap_iter_20.caffemodel"),
    ):
        _same_log(embedded(*arguments, cwd=folder), real(*arguments, cwd=folder))
        _same_log(embedded(*arguments, cwd=folder), real(*arguments, cwd=folder))


def test_scoring_log_and_values(folder: Path, embedded: Command, real: Command) -> None:
    """`caffe test` on one caffemodel: the same lines, and the same scores to 1e-4."""
    real("train", "-solver", "solver.prototxt", cwd=folder)
    softmax = 'layer { name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }'
    (folder / "score.prototxt").write_text(NET + softmax)
    arguments = ("test", "-model", "score.prototxt", "-weights", "snap_iter_20.caffemodel")
    ours = embedded(*arguments, "-iterations", "6", cwd=folder)
    theirs = real(*arguments, "-iterations", "6", cwd=folder)
    _same_log(ours, theirs)
    scores = [
        [float(x) for x in re.findall(rf"caffe.cpp:\d+\].* = ({NUMBER})", run.log)]
        for run in (ours, theirs)
    ]
    assert len(scores[0]) > 1000
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4, atol=1e-6)


def test_timing_log(folder: Path, embedded: Command, real: Command) -> None:
    arguments = ("time", "-model", "net.prototxt", "-iterations", "2")
    _same_log(embedded(*arguments, cwd=folder), real(*arguments, cwd=folder))


BAD_FLAGS = {
    "no solver": ("train",),
    "missing solver": ("train", "-solver", "nope.prototxt"),
    "unknown flag": ("train", "-solverr", "solver.prototxt"),
    "unknown command": ("trian", "-solver", "solver.prototxt"),
    "flag without argument": ("train", "-solver"),
    "not a number": ("train", "-iterations", "many"),
    "snapshot and weights": ("train", "-solver", "s", "-snapshot", "a", "-weights", "b"),
    "missing snapshot": ("train", "-solver", "solver.prototxt", "-snapshot", "a.solverstate"),
    "missing weights": ("train", "-solver", "solver.prototxt", "-weights", "a.caffemodel"),
    "damaged weights": ("train", "-solver", "solver.prototxt", "-weights", "damaged"),
    "effect": ("train", "-solver", "solver.prototxt", "-sigint_effect", "explode"),
    "no CUDA": ("train", "-solver", "solver.prototxt", "-gpu", "0"),
    "test without weights": ("test", "-model", "net.prototxt"),
    "test without model": ("test",),
    "time without model": ("time",),
    "no command": (),
    "two commands": ("train", "test"),
    "help": ("--help",),
    "version": ("--version",),
    "no GPUs to query": ("device_query",),
}


SPELLINGS = {
    "one dash": ("-model", "net.prototxt", "-iterations", "1"),
    "two dashes": ("--model", "net.prototxt", "--iterations", "1"),
    "equals signs": ("-model=net.prototxt", "--iterations=1"),
    "decimal and hexadecimal": ("-model=net.prototxt", "-iterations", "0x1", "-level", "010"),
    "the last one counts": ("-model", "nope", "-model", "net.prototxt", "-iterations=1"),
    "booleans": ("-logtostderr=1", "--noalsologtostderr", "-model=net.prototxt", "-iterations=1"),
    "fewer messages": ("-minloglevel", "1", "-model=net.prototxt", "-iterations=1"),
    "nothing to do": ("-model=net.prototxt", "-iterations=0"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_flags(name: str, folder: Path, embedded: Command, real: Command) -> None:
    """They mean the same as to gflags: the same log."""
    arguments = ("time", *SPELLINGS[name])
    ours, theirs = embedded(*arguments, cwd=folder), real(*arguments, cwd=folder)
    assert ours.status == theirs.status == 0
    assert ours.stdout == theirs.stdout == ""
    assert _masked(ours.log) == _masked(theirs.log)


def _same_status(ours: Run, real: Run) -> None:
    """The same exit status, and where it is fatal: an F line from the same source file."""
    assert ours.status == real.status, ours.log[-1500:]
    assert "Traceback" not in ours.log
    assert "a defect of this engine" not in ours.log
    fatal = [re.findall(r"^F\d+ [\d:.]+ +\d+ (.*)$", run.log, re.M) for run in (ours, real)]
    assert bool(fatal[0]) == bool(fatal[1])
    assert ours.status != -signal.SIGABRT or fatal[0]


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_bad_command_line(name: str, folder: Path, embedded: Command, real: Command) -> None:
    (folder / "damaged").write_bytes(b"\x0a\xff not a model")
    _same_status(embedded(*BAD_FLAGS[name], cwd=folder), real(*BAD_FLAGS[name], cwd=folder))


@pytest.mark.parametrize(
    ("number", "flags"),
    [
        (signal.SIGINT, ()),
        (signal.SIGHUP, ()),
        (signal.SIGINT, ("-sigint_effect", "snapshot")),
        (signal.SIGINT, ("-sigint_effect", "none")),
        (signal.SIGHUP, ("-sighup_effect", "stop")),
        (signal.SIGTERM, ()),
    ],
)
def test_signals(
    number: signal.Signals, flags: tuple[str, ...], folder: Path, real_caffe: Path
) -> None:
    """A signal during training: the same exit status and the same kinds of line after it."""
    endless = SOLVER.replace("max_iter: 20", "max_iter: 1000000").replace("snapshot: 10", "")
    endless = endless.replace("test_iter: 4 test_interval: 10", "").replace(
        "display: 5", "display: 1"
    )
    (folder / "solver.prototxt").write_text(endless)
    results = []
    for command in ([sys.executable, "-m", "caffe_torch"], [str(real_caffe)]):
        log = folder / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*command, "train", "-solver", "solver.prototxt", *flags],
                cwd=folder,
                stderr=file,
                env={"GLOG_logtostderr": "1", "OMP_NUM_THREADS": "1"},
            )
            _wait_for(log, "Iteration 3")
            seen = log.read_text().count("lr = ")
            process.send_signal(number)
            deadline = time.monotonic() + 60
            while process.poll() is None and log.read_text().count("lr = ") < seen + 10:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            running = process.poll() is None
            text = log.read_text()
            process.kill()
            process.wait()
        words = ("Snapshotting to binary", "solver state", "stopped early", "Optimization Done")
        results.append((running or process.returncode, [word in text for word in words]))
    assert results[0] == results[1]


def _wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.02)


TRANSFORMS = {
    "scale": "scale: 0.5",
    "mean value": "mean_value: 7 scale: 0.1",
    "mean values": "mean_value: 7 mean_value: 9 mean_value: 200",
    "mean file": 'mean_file: "mean.binaryproto" scale: 2',
    "centre crop": "crop_size: 4",
    "centre crop of the mean": 'crop_size: 5 mean_file: "mean.binaryproto"',
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_data_layer(
    name: str,
    kind: str,
    tmp_path: Path,
    pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches larger than the LMDB wrap, in key order, and are transformed alike."""
    rng = np.random.default_rng(0)
    with (
        lmdb.open(str(tmp_path / "lmdb"), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i in rng.permutation(7):
            datum = caffe_pb2.Datum(channels=3, height=8, width=7, label=int(i))
            if kind == "uint8":
                datum.data = rng.integers(0, 256, 168, dtype=np.uint8).tobytes()
            else:
                datum.float_data.extend(rng.normal(size=168).tolist())
            transaction.put(f"{i:03d}".encode(), datum.SerializeToString())
    mean = to_proto(rng.normal(100, 20, (1, 3, 8, 7)).astype(np.float32))
    (tmp_path / "mean.binaryproto").write_bytes(mean.SerializeToString())
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "lmdb" '
        f"batch_size: 10 backend: LMDB }} transform_param {{ {TRANSFORMS[name]} }} }}"
    )
    monkeypatch.chdir(tmp_path)
    ours = Net.from_file("net.prototxt", caffe_pb2.TEST).forward()
    theirs = pycaffe_run("net", prototxt, {}, "TEST", cwd=tmp_path)
    for top in ("data", "label"):
        expected = theirs[f"blob/{top}"]
        np.testing.assert_allclose(ours[top], expected, atol=1e-6 * np.abs(expected).max())
    assert list(ours["label"]) == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
