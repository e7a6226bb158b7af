"""What Caffe has not: die_on_nan and sigterm_effect, both off by default; and callbacks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format

from caffe_torch.log import FatalError
from caffe_torch.options import Options
from caffe_torch.solver import Solver

NET = """
layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 6 } shape { dim: 4 dim: 3 }
  data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a net."""
    (tmp_path / "net.prototxt").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _solver(rate: float, options: Options | None = None) -> Solver:
    param = text_format.Parse(
        f'net: "net.prototxt" base_lr: {rate} lr_policy: "fixed" max_iter: 60 random_seed: 1 '
        'snapshot_prefix: "s"',
        caffe_pb2.SolverParameter(),
    )
    return Solver(param, options=options)


def test_a_diverging_run_goes_on_by_default(folder: Path) -> None:
    """As in Caffe: the snapshot holds weights that are not finite, and nobody is told."""
    solver = _solver(1e9)
    solver.solve()
    assert not np.isfinite(solver.net.params["fc"][0].data).all()
    assert Path("s_iter_60.caffemodel").is_file()


def test_die_on_nan_ends_a_diverging_run(folder: Path) -> None:
    """Before its weights are written."""
    solver = _solver(1e9, Options(die_on_nan=True))
    with pytest.raises(FatalError, match=r"Iteration \d+: the loss is .*die_on_nan.*base_lr"):
        solver.solve()
    assert 0 < solver.iter < 60
    assert not list(folder.glob("s_iter_*"))


def test_die_on_nan_writes_no_broken_weights(folder: Path) -> None:
    solver = _solver(0.01, Options(die_on_nan=True))
    solver.step(1)
    solver.net.params["fc"][0].data[0, 0] = np.nan
    with pytest.raises(FatalError, match="Iteration 1: the norm of the weights is nan"):
        solver.snapshot()
    assert not list(folder.glob("s_iter_*"))


def test_die_on_nan_lets_a_sound_run_pass(folder: Path) -> None:
    _solver(0.01, Options(die_on_nan=True)).solve()
    assert Path("s_iter_60.caffemodel").is_file()


def test_callbacks(folder: Path) -> None:
    """The first before the forward pass, the second when the gradients are there."""
    solver = _solver(0.01)
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, float(np.abs(solver.net.params["fc"][0].diff).max())))

    solver.add_callback(lambda: note("start"), lambda: note("gradients"))
    solver.step(2)
    assert [name for name, _ in seen] == ["start", "gradients"] * 2
    assert [value > 0 for _, value in seen] == [False, True] * 2


def _run_until(folder: Path, iteration: int, *flags: str) -> tuple[int, str]:
    """Train without end, send SIGTERM once an iteration is displayed; the status and the log."""
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 100000000 display: 50 '
        'snapshot_prefix: "s" random_seed: 1'
    )
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "caffe_torch", "train", "-solver", "solver.prototxt", *flags],
            cwd=folder,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        while f"Iteration {iteration} " not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        return process.wait(120), log.read_text()
    finally:
        process.kill()
        process.wait()


def test_sigterm_kills_by_default(folder: Path) -> None:
    status, _ = _run_until(folder, 50)
    assert status == -signal.SIGTERM
    assert not list(folder.glob("s_iter_*"))


def test_sigterm_effect_stop_snapshots_and_ends(folder: Path) -> None:
    status, log = _run_until(folder, 50, "-sigterm_effect", "stop")
    assert status == 0
    assert "Optimization stopped early." in log
    assert {path.suffix for path in folder.glob("s_iter_*")} == {".caffemodel", ".solverstate"}
