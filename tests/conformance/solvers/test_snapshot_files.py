"""Snapshot files: real Caffe's layout in both formats, read by the other program."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.blob import from_proto
from tests.conformance.commands import Command
from tests.conformance.solvers.runs import (
    FORMATS,
    RULES,
    Array,
    Pycaffe,
    train_ours,
    train_real,
    write_solver,
)

pytestmark = pytest.mark.conformance

# Shared weights, which HDF5 keeps once, and a frozen bias, which has a history too.
NET = """
name: "net"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 }
  data_param { source: "%s" batch_size: 32 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 4 kernel_size: 5 stride: 4 weight_filler { type: "xavier" } } param { }
  param { lr_mult: 0 } }
layer { name: "fc0" type: "InnerProduct" bottom: "conv" top: "fc0" inner_product_param {
  num_output: 16 weight_filler { type: "xavier" } } }
layer { name: "fc1" type: "InnerProduct" bottom: "fc0" top: "fc1" inner_product_param {
  num_output: 16 weight_filler { type: "xavier" } } param { name: "w" } param { name: "b" } }
layer { name: "elu" type: "ELU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" inner_product_param {
  num_output: 16 weight_filler { type: "xavier" } } param { name: "w" } param { name: "b" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
layer { name: "aside" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "aside"
  loss_weight: 0.1 }
"""
STEPS = 4


def _close(ours: Array, real: Array, what: str) -> None:
    assert ours.shape == real.shape, what
    distance = np.linalg.norm(np.subtract(ours, real, dtype=np.float64))
    assert distance <= 1e-4 * np.linalg.norm(real), what


@pytest.fixture(scope="module", params=FORMATS)
def written(
    request: pytest.FixtureRequest, folder: Path, pycaffe_run: Pycaffe
) -> tuple[str, list[Path]]:
    """The format, and the stems of our and real Caffe's snapshots of one training."""
    kind = str(request.param)
    (folder / "kept.prototxt").write_text(NET % (folder / "train_lmdb"))
    settings = (
        f'{RULES["Adam"]} weight_decay: 0.001 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 '
        f"max_iter: 9 snapshot_format: {kind} snapshot_diff: true"
    )
    paths = [write_solver(folder, name, settings, "kept.prototxt") for name in ("our", "rea")]
    start = train_ours(write_solver(folder, "zero", settings, "kept.prototxt"), 0, kind=kind)
    train_ours(paths[0], STEPS, start.params, kind=kind)
    train_real(pycaffe_run, paths[1], STEPS, start.params, kind=kind)
    return kind, [path.with_name(f"{path.stem}_iter_{STEPS}") for path in paths]


def _described(path: Path) -> dict[str, Any]:
    """Every object of an HDF5 file: its shape, its type on disk, how it is laid out."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        found[name] = None
        if isinstance(item, h5py.Dataset):
            kind, plan = item.id.get_type(), item.id.get_create_plist()
            text = (kind.get_strpad(),) if kind.get_class() == h5py.h5t.STRING else ()
            found[name] = (item.shape, kind.get_class(), kind.get_size(), *text, plan.get_layout())

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_layout_and_values(written: tuple[str, list[Path]]) -> None:
    """Weights with their last updates, and solver states: the same objects, types and values."""
    kind, stems = written
    end = FORMATS[kind]
    models, states = ([Path(f"{s}.{e}{end}") for s in stems] for e in ("caffemodel", "solverstate"))
    if kind == "BINARYPROTO":
        _compare_models(*(caffe_pb2.NetParameter.FromString(p.read_bytes()) for p in models))
        ours, real = (caffe_pb2.SolverState.FromString(p.read_bytes()) for p in states)
        assert (ours.iter, ours.current_step) == (real.iter, real.current_step) == (STEPS, 1)
        assert [ours.learned_net, real.learned_net] == [str(path) for path in models]
        for mine, theirs in zip(ours.history, real.history, strict=True):
            _close(from_proto(mine), from_proto(theirs), "history")
        return
    for mine, theirs in (models, states):
        assert _described(mine) == _described(theirs)
        with h5py.File(mine) as ours, h5py.File(theirs) as real:
            for name, description in _described(theirs).items():
                if name == "learned_net":
                    assert [ours[name][()], real[name][()]] == [str(p).encode() for p in models]
                elif description:
                    _close(ours[name][...], real[name][...], name)


def _compare_models(ours: Any, real: Any) -> None:
    assert [layer.name for layer in ours.layer] == [layer.name for layer in real.layer]
    for mine, theirs in zip(ours.layer, real.layer, strict=True):
        assert len(mine.blobs) == len(theirs.blobs)
        for a, b in zip(mine.blobs, theirs.blobs, strict=True):
            _close(from_proto(a), from_proto(b), mine.name)
            assert len(a.diff) == len(b.diff) == len(b.data)
            _close(np.array(a.diff), np.array(b.diff), f"update of {mine.name}")


def test_weights_of_the_other_program(
    written: tuple[str, list[Path]], folder: Path, embedded: Command, real: Command
) -> None:
    """`test -weights` and `train -weights` take either's file, and find the same losses."""
    kind, stems = written
    tuning = write_solver(folder, "tuned", f'{RULES["SGD"]} lr_policy: "fixed" display: 1 '
                          "max_iter: 3 snapshot_after_train: false", "kept.prototxt")  # fmt: skip
    for stem in stems:
        weights = ("-weights", f"{stem}.caffemodel{FORMATS[kind]}")
        losses = []
        for command in (embedded, real):
            tested = command(
                *("test", "-model", "kept.prototxt", *weights, "-iterations", "2"), cwd=folder
            )
            tuned = command("train", "-solver", str(tuning), *weights, cwd=folder)
            assert tested.status == tuned.status == 0, tested.log[-500:] + tuned.log[-500:]
            losses.append([float(x) for x in re.findall(r"[lL]oss[:=]? =? ?(\d\S*)",
                                                        tested.log + tuned.log)])  # fmt: skip
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
        assert len(losses[0]) > 5
