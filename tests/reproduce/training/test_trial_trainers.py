"""The same trials with real Caffe and with the embedded one, on two classes of tiny images."""

import os
import shlex
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest

from prototxt_gen import caffe_pb2
from prototxt_gen.solver import solver_text
from reproduce.training.caffe import Caffe, find_caffe
from reproduce.training.log_parser import Fatal, TestOutput, parse_events
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.preflight import preflight
from reproduce.training.process import CaffeProcess
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import Snapshots, is_whole
from reproduce.training.trial import run_trial
from reproduce.training.trial_events import EpochFinished, PhaseStarted, Restarted

pytestmark = [pytest.mark.conformance, pytest.mark.slow]

DATA = """
layer {{
  name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  data_param {{ source: "data/{name}" batch_size: 20 backend: LMDB }}
  transform_param {{ scale: 0.00390625 }}
}}
"""
NET = (
    'name: "tiny"'
    + DATA.format(phase="TRAIN", name="train")
    + DATA.format(phase="TEST", name="val")
    + """
layer {
  name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } }
}
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer {
  name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
layer {
  name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy"
  include { phase: TEST }
}
"""
)
RECIPE = Recipe(
    epochs=3,
    iterations_per_epoch=10,
    test_iter=5,
    base_lr=0.02,
    momentum2=0.999,
    delta=1e-8,
    chance_accuracy=0.5,
    display=5,
    random_seed=3,
    solver_mode="CPU",
)


def write_lmdb(path: Path, count: int, seed: int) -> None:
    """Images of 6×6 pixels, brighter on the side that their class names."""
    random = np.random.default_rng(seed)
    path.parent.mkdir(exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 24) as database, database.begin(write=True) as write:
        for number in range(count):
            label = number % 2
            image = random.integers(0, 100, (1, 6, 6), dtype=np.uint8)
            image[:, :, 3 * label : 3 * label + 3] += 120
            datum = caffe_pb2.Datum(
                channels=1, height=6, width=6, data=image.tobytes(), label=label
            )
            write.put(f"{number:08d}".encode(), datum.SerializeToString())


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_lmdb(tmp_path / "data" / "train", 200, 1)
    write_lmdb(tmp_path / "data" / "val", 100, 2)
    return tmp_path


@pytest.fixture(params=["real", "embedded"])
def caffe(request: pytest.FixtureRequest) -> Caffe:
    """Real Caffe, then the embedded one, each with one thread."""
    if request.param == "real":
        env = {**os.environ, "CAFFE": str(request.getfixturevalue("real_caffe"))}
    else:
        env = {"PATH": "/usr/bin:/bin"}
    found = find_caffe(env)
    assert found.kind == request.param
    return replace(found, threads=1)


def test_it_learns(run_folder: Path, caffe: Caffe) -> None:
    recipe = replace(RECIPE, keep_model=True)
    events: list[object] = []
    folder = run_folder / "trials" / "a"
    result = run_trial(folder, run_folder, NET, recipe, caffe, events.append)
    assert (result.outcome, result.message) == (Outcome.FINISHED, "")
    assert (result.restarts, result.iterations, result.trainer) == (0, 30, caffe.version)
    assert len(result.accuracies) == 3
    assert result.accuracies[-1] > 0.95  # the classes are separable
    starts = [e for e in events if isinstance(e, PhaseStarted)]
    assert [(e.from_iteration, e.to_iteration) for e in starts] == [(0, 10), (10, 30)]
    assert [e.epoch for e in events if isinstance(e, EpochFinished)] == [1, 2, 3]
    model = caffe_pb2.NetParameter.FromString((folder / "model.caffemodel").read_bytes())
    blobs = {layer.name: len(layer.blobs) for layer in model.layer if layer.blobs}
    assert blobs == {"ip1": 2, "ip2": 2}
    assert not list(folder.glob("snapshot_*"))


def test_preflight(run_folder: Path, caffe: Caffe) -> None:
    folder = run_folder / "preflight"
    measured = preflight(folder, run_folder, NET, RECIPE, caffe)
    assert {path.name for path in folder.iterdir()} == {"train.log", "resume.log"}
    assert measured.seconds_per_iteration > 0
    assert measured.startup_seconds > 0
    parameters = 36 * 8 + 8 + 8 * 2 + 2  # weights, and Adam's two moments of each, as float32
    assert 12 * parameters < measured.snapshot_bytes < 12 * parameters + 4000


def test_nan_restarts(run_folder: Path, caffe: Caffe) -> None:
    recipe = replace(RECIPE, base_lr=1e30, restart_factor=2e-32)
    events: list[object] = []
    result = run_trial(run_folder / "a", run_folder, NET, recipe, caffe, events.append)
    assert (result.outcome, result.restarts) == (Outcome.FINISHED, 1)
    assert result.learning_rate == pytest.approx(0.02)
    (restarted,) = [e for e in events if isinstance(e, Restarted)]
    assert "nan" in restarted.reason


def long_recipe(caffe: Caffe) -> Recipe:
    """So long that a stop comes before its end; real Caffe trains 200 of its epochs in 0.3 s."""
    return replace(RECIPE, epochs=200 if caffe.kind == "embedded" else 3000)


def test_stop_and_go_on(run_folder: Path, caffe: Caffe) -> None:
    stop = threading.Event()

    def stop_in_the_second_phase(event: object) -> None:
        if isinstance(event, EpochFinished) and event.epoch == 2:
            stop.set()

    recipe = long_recipe(caffe)
    folder = run_folder / "a"
    stopped = run_trial(folder, run_folder, NET, recipe, caffe, stop_in_the_second_phase, stop)
    assert stopped.outcome is Outcome.STOPPED
    done = len(stopped.accuracies)
    assert 2 <= done < recipe.epochs
    events: list[object] = []
    result = run_trial(folder, run_folder, NET, recipe, caffe, events.append)
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, recipe.epochs)
    assert result.accuracies[:done] == stopped.accuracies
    (start,) = [e for e in events if isinstance(e, PhaseStarted)]
    assert start.from_iteration >= 10 * done


def test_a_missing_database_is_a_crash_with_its_reason(run_folder: Path, caffe: Caffe) -> None:
    net = NET.replace("data/train", "data/nowhere")
    result = run_trial(run_folder / "a", run_folder, net, RECIPE, caffe)
    assert result.outcome is Outcome.CRASHED
    assert "No such file or directory" in result.message


def test_a_snapshot_at_the_last_iteration_is_tested_once_more(
    run_folder: Path, caffe: Caffe
) -> None:
    """What a trial relies on when it was cut off between a snapshot and its test."""
    scheme = RECIPE.scheme(0, 20)
    (run_folder / "net.prototxt").write_text(NET)
    text = solver_text(scheme, net="net.prototxt", snapshot_prefix="snapshot_0")
    (run_folder / "solver.prototxt").write_text(text)
    for log, snapshot in (("1.log", None), ("2.log", "snapshot_0_iter_20.solverstate")):
        with CaffeProcess(
            caffe.train(run_folder, "solver.prototxt", snapshot).argv,
            cwd=run_folder,
            env=caffe.environment(os.environ),
            log=run_folder / log,
            mark=run_folder / "mark",
        ) as process:
            list(process.events())
        assert process.ending.returncode == 0
        snapshots = Snapshots(run_folder, "snapshot_0")
        assert is_whole(snapshots.at(20))
    first, second = (
        [e for e in parse_events(run_folder / log) if isinstance(e, TestOutput)]
        for log in ("1.log", "2.log")
    )
    assert first[-2:] == second
    assert second[0].iteration == 20


def test_a_torn_snapshot_is_never_offered(run_folder: Path, caffe: Caffe) -> None:
    """Caffe dies on one."""
    stop = threading.Event()

    def stop_soon(event: object) -> None:
        if isinstance(event, EpochFinished) and event.epoch == 2:
            stop.set()

    recipe, folder = long_recipe(caffe), run_folder / "a"
    run_trial(folder, run_folder, NET, recipe, caffe, stop_soon, stop)
    state = max(folder.glob("*.solverstate"), key=lambda path: path.stat().st_mtime)
    state.write_bytes(state.read_bytes()[:-30])
    result = run_trial(folder, run_folder, NET, recipe, caffe)
    assert result.outcome is Outcome.FINISHED
    for log in folder.glob("*.log"):
        assert not [event for event in parse_events(log) if isinstance(event, Fatal)]


@pytest.mark.slow
def test_a_full_disk(
    run_folder: Path, caffe: Caffe, on_small_disk: Callable[..., list[TrialResult]]
) -> None:
    """A disk with room for one snapshot of 0.9 MB; the second one fails."""
    net = NET.replace("num_output: 8 ", "num_output: 2000 ")
    recipe = replace(RECIPE, base_lr=0.001, keep_model=True, retries=0)
    full, still_full, resumed = on_small_disk(
        'disk 1500k; cp -R "$DATA" "$DISK"; drive; drive; disk 8m; drive',
        net,
        recipe,
        DATA=str(run_folder / "data"),
        CAFFE=shlex.join(caffe.argv),
    )
    for result in (full, still_full):
        assert result.outcome is Outcome.STOPPED
        assert result.message.startswith("no space left on the disk of ")
        assert len(result.accuracies) == 1
    assert (resumed.outcome, len(resumed.accuracies)) == (Outcome.FINISHED, 3)
