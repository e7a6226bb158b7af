"""The runs of the reference folder again, smaller, in both programs side by side.

Their nets lose Dropout, whose masks no two programs share, and their batches, tests and lengths
are cut, so that a run takes seconds. `smooth` nets have ELU and AVE pooling in place of ReLU and
MAX pooling: there, losses agree to 1e-4; the nets as they are agree less well, even real Caffe's
with itself.
"""

import re
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.commands import Both, Run
from tests.conformance.logs.compare import same_log
from tests.conformance.logs.normalize import read

pytestmark = pytest.mark.conformance


def _net(text: str, smooth: bool) -> str:
    lines = [line for line in text.splitlines() if 'type: "Dropout"' not in line]
    text = "\n".join(lines).replace("batch_size: 128", "batch_size: 12")
    text = text.replace("batch_size: 100", "batch_size: 20")
    if smooth:
        text = text.replace('"ReLU"', '"ELU"').replace("pool: MAX", "pool: AVE")
    return text


def _solver(text: str) -> str:
    """The solver with its counts cut: 860 iterations become 8, 50 test batches become 2."""

    def cut(found: re.Match[str]) -> str:
        name, value = found[1], int(found[2])
        return f"{name}: {2 if name == 'test_iter' else max(value // 100, min(value, 2))}"

    names = "test_iter|test_interval|display|max_iter|snapshot|stepsize"
    return re.sub(rf"\b({names}): (\d+)", cut, text)


@pytest.fixture
def files(reference: Path) -> dict[bool, dict[str, str | bytes]]:
    """Every prototxt of the folder, cut: as it is, and smooth."""
    folder = reference / "caffe-logs" / "prototxt"
    return {
        smooth: {
            f"prototxt/{path.name}": _solver(path.read_text())
            if "net:" in path.read_text()
            else _net(path.read_text(), smooth)
            for path in sorted(folder.glob("*.prototxt"))
        }
        for smooth in (False, True)
    }


Files = dict[bool, dict[str, str | bytes]]
WEIGHTS = "work/start.caffemodel"


@pytest.fixture
def start(both: Both, files: Files) -> bytes:
    """A model of the reference net: the initial weights, by real Caffe."""
    solver = 'net: "prototxt/lenet_train_val.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 1 '
    solver += 'snapshot_prefix: "work/once" random_seed: 1 solver_mode: CPU'
    _, real = both("train", "-solver", "once", files=files[False] | {"once": solver})
    return (real.folder / "work" / "once_iter_1.caffemodel").read_bytes()


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize(
    "run", ["solver_normal", "solver_short45", "solver_873_lr0.5", "solver_finetune"]
)
def test_training(run: str, smooth: bool, both: Both, files: Files, start: bytes) -> None:
    arguments = ("train", "-solver", f"prototxt/{run}.prototxt", "-weights", WEIGHTS)
    ours, real = both(*arguments, files=files[smooth] | {WEIGHTS: start})
    same_log(ours, real, tolerance=1e-4 if smooth else 5e-2)
    assert ours.status == 0
    assert len(read(ours.log).numbers) > 6


def test_resumed(both: Both, files: Files, start: bytes) -> None:
    """Each goes on from its own snapshot of the normal run."""
    both(
        *("train", "-solver", "prototxt/solver_normal.prototxt", "-weights", WEIGHTS),
        files=files[True] | {WEIGHTS: start},
    )
    state = "work/solver_normal_iter_4.solverstate"
    longer = str(files[True]["prototxt/solver_resumed.prototxt"]).replace(
        "max_iter: 5", "max_iter: 9"
    )
    arguments = ("train", "-solver", "longer", "-snapshot", state)
    ours, real = both(*arguments, files={"longer": longer})
    same_log(ours, real)
    assert "restoring history" in ours.log


def test_a_renamed_layer_starts_anew(both: Both, files: Files, start: bytes) -> None:
    """Its fresh weights differ, so the numbers do; the lines are the same."""
    arguments = ("train", "-solver", "prototxt/solver_renamed.prototxt", "-weights", WEIGHTS)
    ours, real = both(*arguments, files=files[True] | {WEIGHTS: start})
    assert read(ours.log).lines == read(real.log).lines
    assert ours.status == real.status == 0
    assert "Ignoring source layer fc1\n" in ours.log


@pytest.mark.parametrize(
    "run", ["solver_diverge", "solver_diverge_sgd", "solver_nan_sgd", "solver_nan_adam1e30"]
)
def test_a_diverging_run_is_not_an_error(run: str, both: Both, files: Files, start: bytes) -> None:
    arguments = ("train", "-solver", f"prototxt/{run}.prototxt", "-weights", WEIGHTS)
    ours, real = both(*arguments, files=files[False] | {WEIGHTS: start})
    a, b = read(ours.log), read(real.log)
    assert ours.status == 0
    if DOUBLE_FREE in b.lines:
        b.lines.remove(DOUBLE_FREE)
        assert a.lines[: len(b.lines)] == b.lines
    else:
        assert a.lines == b.lines
        assert real.status == 0


# Real Caffe's Accuracy sorts scores, and sorting NaNs overwrites memory: at times it dies of it.
DOUBLE_FREE = "double free or corruption (out)"
SOLVER = ("train", "-solver", "prototxt/solver_normal.prototxt")
FATAL = {
    "train_bad_field": ("train", "-solver", "prototxt/solver_bad_field.prototxt"),
    "train_bad_layer_type": ("train", "-solver", "prototxt/solver_bad_layer_type.prototxt"),
    "train_bad_syntax": ("train", "-solver", "prototxt/solver_bad_syntax.prototxt"),
    "train_missing_lmdb": ("train", "-solver", "prototxt/solver_missing_lmdb.prototxt"),
    "train_unknown_bottom": ("train", "-solver", "prototxt/solver_unknown_bottom.prototxt"),
    "train_unwritable_snapshot": ("train", "-solver", "prototxt/solver_badsnap.prototxt"),
    "train_gpu_mode_on_cpu_only": ("train", "-solver", "prototxt/solver_gpu.prototxt"),
    "train_gpu_flag_on_cpu_only": (*SOLVER, "-gpu", "0"),
    "train_finetune_shape_mismatch": (
        "train", "-solver", "prototxt/solver_shape.prototxt", "-weights", WEIGHTS,
    ),
    "train_corrupt_weights": (*SOLVER, "-weights", "work/trunc2.caffemodel"),
    "train_both_snapshot_and_weights": (*SOLVER, "-weights", "a", "-snapshot", "b"),
    "train_missing_snapshot": (*SOLVER, "-snapshot", "work/nope.solverstate"),
    "train_no_args": ("train",),
    "train_no_solver_file": ("train", "-solver", "prototxt/nope.prototxt"),
    "unknown_command": ("frobnicate",),
}  # fmt: skip


@pytest.mark.parametrize("name", FATAL)
def test_fatal(name: str, both: Both, files: Files, start: bytes, reference: Path) -> None:
    """The fatal line starts as real Caffe's does here, and as the one in the folder does."""
    given = files[False] | {WEIGHTS: start, "work/trunc2.caffemodel": start[:5000]}
    ours, real = both(*FATAL[name], files=given)
    assert ours.status == real.status == -signal.SIGABRT
    recorded = read((reference / "caffe-logs" / f"{name}.log").read_text()).fatal
    for expected in (read(real.log).fatal, recorded):
        known_types = expected.partition("(known types")[0]  # ours names those that it has
        assert read(ours.log).fatal.startswith(known_types.rstrip())
    assert _built(ours) == _built(real)


def _built(run: Run) -> list[str]:
    """Everything but the fatal line, and the actions that only the embedded engine has."""
    more = ("\texport", "\tpython")
    lines = read(run.log).lines
    return [line for line in lines if not line.startswith("F ") and not line.endswith(more)]


def test_a_kernel_that_is_too_large_dies_in_both(both: Both, files: Files) -> None:
    """Real Caffe says only `Check failed: data_`; ours names the layer."""
    arguments = ("train", "-solver", "prototxt/solver_too_big_kernel.prototxt")
    ours, real = both(*arguments, files=files[False])
    assert ours.status == real.status == -signal.SIGABRT
    assert "kernel" in read(ours.log).fatal
    assert "'conv" in read(ours.log).fatal


def test_an_unknown_flag(both: Both) -> None:
    ours, real = both("train", "-solverr", "prototxt/solver_normal.prototxt")
    assert ours.status == real.status == 1
    assert ours.log.splitlines()[0] == real.log.splitlines()[0]


SCORED = ["lenet_test_logprobs", "lenet_train_val"]


@pytest.mark.parametrize("net", SCORED)
def test_scoring(net: str, both: Both, files: Files, start: bytes, data: Path) -> None:
    text = str(files[True][f"prototxt/{net}.prototxt"])
    text = text.replace("mnist_test_lmdb", "mnist_val_lmdb")
    arguments = ("test", "-model", "net", "-weights", WEIGHTS, "-iterations", "2")
    ours, real = both(*arguments, files={"net": text, WEIGHTS: start})
    same_log(ours, real)
    assert np.isfinite(read(ours.log).numbers).all()


@pytest.mark.parametrize("net", ["bench_i", "bench_ii", "bench_iii"])
def test_timing(net: str, both: Both, files: Files) -> None:
    text = re.sub(
        r"batch_size: \d+", "batch_size: 1", str(files[False][f"prototxt/{net}.prototxt"])
    )
    text = re.sub(r"dim: 128 dim", "dim: 1 dim", text)
    ours, real = both("time", "-model", "net", "-iterations", "1", files={"net": text})
    assert ours.status == real.status, ours.log[-1000:]
    assert read(ours.log).lines == read(real.log).lines
