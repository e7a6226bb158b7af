"""What `-weights` copies and what it refuses, in both trainers: statuses, log lines, weights."""

import re
import signal
from pathlib import Path

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from tests.conformance.commands import Both, Run
from tests.conformance.fine_tuning.tasks import (
    PRETRAINED,
    SMOOTH,
    read_model,
    write_model,
)

pytestmark = pytest.mark.conformance

TRAIN = ("train", "-solver", "solver.prototxt")
SOLVER = (  # it tests once, and snapshots what it has got
    'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 0 test_iter: 10 '
    'test_interval: 1 snapshot_prefix: "tuned" solver_mode: CPU '
)
TUNED = "tuned_iter_0.caffemodel"
NOTES = r"((?:Finetuning from|Ignoring source layer) .*?)"


@pytest.fixture(scope="module")
def models(work: Path) -> Path:
    """`work` with more models: see the names."""
    whole = (work / PRETRAINED).read_bytes()
    (work / "half.caffemodel").write_bytes(whole[:3000])
    weights, bias = (read_model(work / PRETRAINED)[f"scores/{i}"] for i in (0, 1))
    write_model(work / "last.caffemodel", scores=[weights * 0, np.arange(10)], unknown=[bias])
    write_model(work / "axis.caffemodel", scores=[weights, bias[None]])

    short, legacy = caffe_pb2.NetParameter(), caffe_pb2.NetParameter.FromString(whole)
    short.layer.extend(layer for layer in legacy.layer if layer.name == "scores")
    del short.layer[0].blobs[0].data[-1]
    (work / "short.caffemodel").write_bytes(short.SerializeToString())
    for layer in legacy.layer:
        for blob in layer.blobs:
            shape = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
            blob.ClearField("shape")
            blob.num, blob.channels, blob.height, blob.width = shape
    (work / "legacy.caffemodel").write_bytes(legacy.SerializeToString())
    return work


def test_layers_are_matched_by_name(work: Path, both: Both) -> None:
    """The model's other layers are ignored; a renamed layer keeps what its fillers gave it."""
    renamed = re.sub(
        r'"fc"( type.*\n.*) weight_filler {.*?}',
        r'"fc_new"\1 weight_filler { type: "constant" value: 0.125 } '
        r'bias_filler { type: "constant" value: -3 }',
        SMOOTH,
    )
    runs = both(*TRAIN, "-weights", PRETRAINED, net=renamed, solver=SOLVER)
    notes = [f"Finetuning from {PRETRAINED}", "Ignoring source layer fc"]
    start = read_model(work / PRETRAINED)
    for run in runs:
        assert run.status == 0, run.log[-2000:]
        assert run.said(NOTES) == notes * 2  # the training net, then the test net
        tuned = read_model(run.folder / TUNED)
        assert set(tuned) == {f"{x}/{i}" for x in ("conv", "fc_new", "scores") for i in (0, 1)}
        for name in tuned.keys() & start.keys():
            np.testing.assert_array_equal(tuned[name], start[name])
        assert (tuned["fc_new/0"] == 0.125).all()
        assert (tuned["fc_new/1"] == -3).all()


def test_a_list_of_models(models: Path, both: Both) -> None:
    """Separated by commas and blanks: a layer is that of the last model that has it.

    The flag goes before the solver's own `weights`.
    """
    listed = f"{PRETRAINED} ,  last.caffemodel"
    solver = SOLVER + 'weights: "nope.caffemodel"'
    ours, real = both(*TRAIN, "-weights", listed, net=SMOOTH, solver=solver)
    assert ours.status == real.status == 0, ours.log[-2000:]
    assert ours.said(NOTES) == real.said(NOTES)
    assert real.said(NOTES)[1:3] == [
        "Finetuning from last.caffemodel",
        "Ignoring source layer unknown",
    ]
    for run in (ours, real):
        tuned = read_model(run.folder / TUNED)
        np.testing.assert_array_equal(tuned["fc/0"], read_model(models / PRETRAINED)["fc/0"])
        np.testing.assert_array_equal(tuned["scores/1"], range(10))


def test_a_solvers_own_weights(models: Path, both: Both) -> None:
    """Several of them, in order; the test net gets them too."""
    solver = SOLVER + f'weights: "last.caffemodel" weights: "{PRETRAINED}"'
    ours, real = both(*TRAIN, net=SMOOTH, solver=solver)
    assert ours.said(NOTES) == real.said(NOTES)
    assert ours.accuracies == real.accuracies
    assert len(real.accuracies) == 1
    assert real.accuracies[0] > 0.5


def test_weights_of_four_legacy_dimensions(models: Path, both: Both) -> None:
    """With ones before a blob's own: as Caffe wrote them before it had blobs of any shape."""
    start = read_model(models / PRETRAINED)
    for run in both(*TRAIN, "-weights", "legacy.caffemodel", net=SMOOTH, solver=SOLVER):
        assert run.status == 0, run.log[-2000:]
        for name, values in read_model(run.folder / TUNED).items():
            np.testing.assert_array_equal(values, start[name])


NARROW = SMOOTH.replace("num_output: 8", "num_output: 7")
UNBIASED = SMOOTH.replace("num_output: 10", "num_output: 10 bias_term: false")
STATE = PRETRAINED.replace("caffemodel", "solverstate")
SCORE = ("test", "-model", "net.prototxt", "-weights")
REFUSED = {
    "another width": (NARROW, (PRETRAINED,), "shape is 8 1 5 5 (200); target param shape is 7 1"),
    "no bias": (UNBIASED, (PRETRAINED,), "Incompatible number of blobs for layer scores"),
    "an axis more": (SMOOTH, ("axis.caffemodel",), "layer 'scores'; shape mismatch"),
    "too few values": (SMOOTH, ("short.caffemodel",), "count_ == proto.data_size() (320 vs. 319)"),
    "no file": (SMOOTH, ("nope.caffemodel",), "Couldn't open nope.caffemodel"),
    "no second file": (SMOOTH, (f"{PRETRAINED},nope",), "Couldn't open nope"),
    "an empty name": (SMOOTH, (f"{PRETRAINED},",), "Couldn't open"),
    "a folder": (SMOOTH, ("patterns_lmdb",), "Couldn't open patterns_lmdb"),
    "a truncated file": (SMOOTH, ("half.caffemodel",), "Failed to parse NetParameter file: half"),
    "a snapshot too": (SMOOTH, (PRETRAINED, "-snapshot", STATE), "to finetune but not both."),
}


def _refused_alike(runs: tuple[Run, Run], words: str) -> None:
    """The same notes, then one fatal line: Caffe's, perhaps with what to do behind it."""
    ours, real = runs
    assert ours.status == real.status == -signal.SIGABRT, (ours.log, real.log)
    (told,), (expected,) = ours.said("(.*?)", "F"), real.said("(.*?)", "F")
    assert words in expected
    assert told.startswith(expected)
    assert ours.said(NOTES) == real.said(NOTES)


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str, models: Path, both: Both) -> None:
    net, flags, words = REFUSED[name]
    runs = both(*TRAIN, "-weights", *flags, net=net, solver=SOLVER)
    _refused_alike(runs, words)
    assert not list(runs[0].folder.glob("tuned*"))


@pytest.mark.parametrize(
    ("net", "weights", "words"),
    [
        (NARROW, PRETRAINED, "layer 'conv'; shape mismatch"),
        (SMOOTH, f"{PRETRAINED},last.caffemodel", f"Couldn't open {PRETRAINED},last.caffemodel"),
    ],
)
def test_refusal_by_caffe_test(
    net: str, weights: str, words: str, models: Path, both: Both
) -> None:
    """`caffe test` takes one model, not a list."""
    _refused_alike(both(*SCORE, weights, net=net), words)


def test_scoring_ignores_unmatched_layers(models: Path, both: Both) -> None:
    """Without a word on the layer that nothing was copied to."""
    net = SMOOTH.replace('name: "scores"', 'name: "new"')
    ours, real = both(*SCORE, PRETRAINED, "-iterations", "1", net=net)
    assert ours.status == real.status == 0
    assert ours.said(NOTES) == real.said(NOTES) == ["Ignoring source layer scores"]


def test_hdf5_weights_are_read_whatever_the_file_is_called(models: Path, both: Both) -> None:
    """The format is told by the content: the same scores as from the model that they came from."""
    with h5py.File(models / "renamed.caffemodel", "w") as file:
        for key, values in read_model(models / PRETRAINED).items():
            file[f"data/{key}"] = values
    runs = [
        run
        for weights in ("renamed.caffemodel", PRETRAINED)
        for run in both(*SCORE, weights, "-iterations", "2", net=SMOOTH)
    ]
    scores = [[float(x) for x in run.said(r"Batch \d+, \w+ = (\S+)")] for run in runs]
    assert [run.status for run in runs] == [0, 0, 0, 0]
    assert len(scores[0]) == 4
    np.testing.assert_allclose(scores, np.broadcast_to(scores[3], (4, 4)), rtol=1e-4)
