"""The published solvers' figures against the files themselves; solver files that a user names."""

import csv
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reproduce.paper import NETS, published_net
from reproduce.published_files import PublishedFileError
from reproduce.published_solvers import (
    FILES,
    PublishedFile,
    Solver,
    data_set_of,
    file_of,
    file_with,
    own_training,
    read_solver_file,
)

SOLVER = 'type: "Adam" base_lr: 0.00016 momentum: 0.9 weight_decay: 0.000975 max_iter: 60'
STEP = f'{SOLVER} lr_policy: "step" gamma: 0.2 stepsize: 7 test_interval: 20 test_iter: 5'
EPOCH = 4


def f32(number: float) -> float:
    return float(np.float32(number))


def written(folder: Path, text: str) -> Path:
    path = folder / "solver.prototxt"
    path.write_text(text)
    return path


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_figure_is_the_published_files(file: PublishedFile, reference: Path) -> None:
    raw = (reference / "published" / "prototxt" / f"{file.name}.prototxt").read_bytes()
    net = text_format.Parse(raw.decode(), caffe_pb2.NetParameter())
    train, test = net.layer[:2]
    assert file.sha256 == hashlib.sha256(raw).hexdigest()
    assert (file.batch, file.test_batch) == (
        train.data_param.batch_size,
        test.data_param.batch_size,
    )
    assert (file.mirror, file.crop) == (
        train.transform_param.mirror,
        train.transform_param.crop_size,
    )
    ratios = [x.dropout_param.dropout_ratio for x in net.layer if x.type == "Dropout"]
    assert [f32(ratio) for ratio in file.dropout] == ratios
    path = reference / "published" / "solver" / f"{file.name}_solver.prototxt"
    assert (file.solver is not None) == path.is_file()
    if file.solver is None:
        return
    said, solver = text_format.Parse(path.read_text(), caffe_pb2.SolverParameter()), file.solver
    assert solver.source == f"static/solver/{path.name}"
    for name in ("base_lr", "momentum", "momentum2", "delta", "weight_decay", "gamma"):
        assert f32(getattr(solver, name)) == getattr(said, name)
    for name in ("type", "lr_policy", "max_iter", "test_interval"):
        assert getattr(solver, name) == getattr(said, name)
    assert ([solver.test_iter], solver.stepvalues) == (said.test_iter, tuple(said.stepvalue))
    assert (solver.stepsize or 0) == said.stepsize


def test_each_file_is_the_net_of_its_rows(reference: Path) -> None:
    """The oracle's architectures; a net of the web page is one that is in no table."""
    with (reference / "paper" / "published_nets.tsv").open(newline="") as text:
        oracle = {row["file"]: row for row in csv.DictReader(text, delimiter="\t")}
    assert oracle.keys() == {file.name for file in FILES}
    for file in FILES:
        row, data_set = oracle[file.name], file.name.partition("_")[0]
        same = [n.id for n in NETS if (n.id.split("/")[0], n.notation) == (data_set, row["arch"])]
        assert list(file.nets) == same
        web = [net for net in same if "/web-" in net]
        assert (row["paper_table(error,#params)"] == "none") == (web == same)
        for id_ in web:
            assert id_.split("-")[1] == file.name.split("_")[1]
            error = row["index_html_error"].rstrip("%")
            assert published_net(id_).error == (None if error == "n/a" else float(error))


def test_the_mnist_files_are_the_thesis_rows() -> None:
    rows = {file.name: file.nets for file in FILES if file.name.startswith("mnist")}
    order = (5, 4, 2, 6, 9, 8, 10, 3, 7, 1)  # by architecture; the web page mixes them up
    assert rows == {f"mnist_{n}": (f"mnist/thesis-{row}",) for n, row in enumerate(order)}


def test_a_nets_own_solver_is_not_the_papers() -> None:
    assert own_training("mnist/thesis-6", "paper") == {}
    assert own_training("cifar10/v1-1", "released") == {}
    own = own_training("mnist/thesis-6", "released")
    assert (own["base_lr"], own["weight_decay"]) == (0.00016, 0.000975)
    assert own["iterations"] == {
        "max_iter": 18720,
        "test_interval": 468,
        "stepsize": 2340,
        "stepvalues": (),
    }
    orphan = own_training("cifar10/web-5", "authors")
    assert "iterations" not in orphan
    assert len(orphan["dropout_ratios"]) == 2


def test_a_published_file_is_known_by_its_content_else_by_its_name() -> None:
    svhn = next(file for file in FILES if file.name == "svhn_2")
    assert (file_with(svhn.sha256), file_of("svhn/thesis-3")) == (svhn, svhn)
    assert data_set_of("renamed.prototxt", svhn.sha256) == "svhn"
    for name, data_set in (
        ("mnist_3.prototxt", "mnist"),
        ("cifar100-mine.prototxt", "cifar100"),
        ("cifar10.prototxt", "cifar10"),
        ("cifar1000.prototxt", None),
        ("my_mnist.prototxt", None),
    ):
        assert data_set_of(name, "") == data_set


@pytest.mark.parametrize("name", ["mnist_3", "cifar10_2", "svhn_0"])
def test_a_published_solver_file_is_read_as_its_figures(name: str, reference: Path) -> None:
    path = reference / "published" / "solver" / f"{name}_solver.prototxt"
    (known,) = [file.solver for file in FILES if file.name == name]
    assert known is not None
    assert read_solver_file(path, EPOCH) == replace(known, source=path.name)


def test_what_a_solver_file_leaves_out_is_caffes_default(tmp_path: Path) -> None:
    text = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 12'
    solver = read_solver_file(written(tmp_path, text), EPOCH)
    assert (solver.type, solver.momentum, solver.weight_decay) == ("SGD", 0.0, 0.0)
    assert (solver.momentum2, solver.delta) == (0.999, 1e-8)
    assert (solver.test_interval, solver.asked_interval) == (EPOCH, None)
    old = read_solver_file(written(tmp_path, f"{text} solver_type: ADAM"), EPOCH)
    assert old.type == "Adam"


def read(folder: Path, text: str) -> Solver | str:
    """The solver that a text says, or why it is refused."""
    path = folder / "solver.prototxt"
    path.write_bytes(text.encode())
    try:
        return read_solver_file(path, EPOCH)
    except PublishedFileError as error:
        return str(error)


@given(st.integers(1, 100_000), st.integers(1, 5000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_caffe_tests_after_the_last_iteration(tmp_path: Path, max_iter: int, asked: int) -> None:
    """The interval divides max_iter and is the largest that does; or none is near, and it says."""
    text = STEP.replace("max_iter: 60", f"max_iter: {max_iter}")
    solver = read(tmp_path, text.replace("test_interval: 20", f"test_interval: {asked}"))
    best = max(d for d in range(1, asked + 1) if max_iter % d == 0)
    if isinstance(solver, Solver):
        assert (solver.test_interval, solver.asked_interval) == (best, asked)
    else:
        assert f"divides {max_iter}" in solver
        assert 10 * best < asked


REFUSED = {
    'type: "Adam"': ('type: "AdaGrad"', "type: Adam or SGD can be had, not AdaGrad"),
    '"step"': ('"poly"', "lr_policy: fixed, step or multistep can be had, not 'poly'"),
    "stepsize: 7": ("", "lr_policy step: its stepsize or stepvalue is missing"),
    "lr_policy": ("stepvalue: 5 stepvalue: 3 lr_policy", "stepvalue: the values must be positive"),
    "gamma: 0.2": ("gamma: 0", "gamma: it must be positive"),
    "max_iter: 60": ("", "max_iter: it must be positive"),
    "base_lr: 0.00016": ("base_lr: nan", "base_lr: it must be positive"),
    "weight_decay: 0.000975": ("weight_decay: -1", "weight_decay: it must not be negative"),
    "momentum: 0.9": ("momentum: 1", r"momentum: it is in \[0, 1\), not 1"),
    "test_iter: 5": ("iter_size: 2", "iter_size: it cannot be kept"),
    "test_interval: 20": ("clip_gradients: 5", "clip_gradients: it cannot be kept"),
    "SGD": ('regularization_type: "L1"', "regularization_type: only L2 can be had"),
    "{": ("\n  base_lr: x", "solver.prototxt:2:12: "),
}


@pytest.mark.parametrize("piece", REFUSED)
def test_what_cannot_be_kept_is_refused_in_one_line(piece: str, tmp_path: Path) -> None:
    new, words = REFUSED[piece]
    text = STEP.replace(piece, new) if piece in STEP else f"{STEP} {new}"
    with pytest.raises(PublishedFileError, match=words) as raised:
        read_solver_file(written(tmp_path, text), EPOCH)
    assert re.match(r"\S*solver\.prototxt(:\d+:\d+)?: ", str(raised.value))
    assert "\n" not in str(raised.value)


@given(st.text(max_size=40) | st.builds("{} {}".format, st.just(STEP), st.text(max_size=20)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_solver_or_refused_in_one_line(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert isinstance(found, Solver) or ("\n" not in found and "solver.prototxt" in found)
