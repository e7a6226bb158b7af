"""Predictions of the same weights: real Caffe's command, the embedded one, and pycaffe."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from prototxt_gen.net import Activation, DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.prediction_net import prediction_net_text
from reproduce.results.ensemble import Evaluation, Member, evaluate
from reproduce.results.predictions import Predictions, predict
from reproduce.training.caffe import Caffe, find_caffe

pytestmark = pytest.mark.conformance

TEST_IMAGES = 259  # 7 batches of 37
VALIDATION_IMAGES = 120
SEEDS = (1, 2, 3)
NET = net_text(
    parse("[C(6,5,2), P(2,2), D(1,2), FC(16), D(2,2), SM(10)]"),
    (1, 24, 24),
    DataSource(
        "../data/train_lmdb",
        "../data/val_lmdb",
        train_batch=25,
        test_batch=30,
        scale=1 / 128,
        mirror=True,  # in TRAIN alone
        crop_size=24,  # of 28; at the centre in TEST
    ),
    NetStyle(activation=Activation.ELU),
    name="tiny",
)
SOLVER = """
net: "net.prototxt" type: "Adam" base_lr: 0.002 momentum: 0.9 lr_policy: "fixed" max_iter: 100
test_iter: 4 test_interval: 100 test_initialization: false snapshot_prefix: "seed{0}"
random_seed: {0} solver_mode: CPU
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Trained:
    """A run folder with three nets that real Caffe has trained, and both `caffe` commands."""

    run: Path
    real: Caffe
    embedded: Caffe

    def weights(self, seed: int) -> Path:
        return self.run / f"seed{seed}_iter_100.caffemodel"

    def predict(self, seed: int, caffe: Caffe, database: str) -> Predictions:
        target = self.run / "predictions" / f"{seed}_{caffe.kind}_{database}.h5"
        weights = self.weights(seed)
        return predict(target, self.run, NET, weights, f"../data/{database}_lmdb", caffe)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    write_lmdb: Callable[..., None],
    run_real: Run,
    real_caffe: Path,
) -> Trained:
    folder = tmp_path_factory.mktemp("predictions")
    run, data = folder / "run", folder / "data"
    run.mkdir()
    data.mkdir()
    for seed, (name, records) in enumerate(
        [("train", 500), ("val", VALIDATION_IMAGES), ("test", TEST_IMAGES)]
    ):
        write_lmdb(data / f"{name}_lmdb", records, seed, noise=60)
    (run / "net.prototxt").write_text(NET)
    for seed in SEEDS:
        (run / "solver.prototxt").write_text(SOLVER.format(seed))
        done = run_real("train", "-solver", "solver.prototxt", cwd=run)
        assert done.returncode == 0, done.stderr[-2000:]
    real = find_caffe({**os.environ, "CAFFE": str(real_caffe)})
    embedded = find_caffe({**os.environ, "CAFFE": f"{sys.executable} -m caffe_torch"})
    assert (real.kind, embedded.kind) == ("real", "embedded")
    return Trained(run, real, embedded)


@pytest.fixture(scope="module")
def forward(
    trained: Trained, pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]]
) -> Callable[[int, str, int], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Probabilities and labels by pycaffe: (seed, database, images), all images in one batch."""

    def run(
        seed: int, database: str, images: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        text = prediction_net_text(NET, f"../data/{database}_lmdb", images)
        prototxt = trained.run / "forward.prototxt"
        prototxt.write_text(text)
        model = caffe_pb2.NetParameter.FromString(trained.weights(seed).read_bytes())
        arrays = {
            f"param/{layer.name}/{i}": np.array(blob.data, np.float32).reshape(blob.shape.dim)
            for layer in model.layer
            for i, blob in enumerate(layer.blobs)
        }
        out = pycaffe_run("net", prototxt, arrays, "TEST", cwd=trained.run)
        return out["blob/prob"], out["blob/label_out"]

    return run


@pytest.mark.parametrize("seed", SEEDS)
def test_both_commands_and_pycaffe_tell_the_same_probabilities(
    trained: Trained,
    forward: Callable[[int, str, int], tuple[NDArray[np.float32], NDArray[np.float32]]],
    seed: int,
) -> None:
    """To 1e-5; the commands print six digits, so real Caffe is its own pycaffe to 1e-6."""
    real = trained.predict(seed, trained.real, "test")
    embedded = trained.predict(seed, trained.embedded, "test")
    probabilities, labels = forward(seed, "test", TEST_IMAGES)
    assert real.probabilities.shape == (TEST_IMAGES, 10)
    assert abs(real.probabilities - embedded.probabilities).max() <= 1e-5
    assert abs(real.probabilities - probabilities).max() <= 2e-6
    assert real.labels.tolist() == embedded.labels.tolist() == labels.astype(int).tolist()
    assert abs(real.errors - embedded.errors) <= 1
    assert real.net_sha256 == embedded.net_sha256
    assert real.weights_sha256 == embedded.weights_sha256
    assert real.trainer != embedded.trainer
    assert 0.01 < 1 - real.accuracy < 0.8, "the task says nothing"


def test_an_image_s_prediction_does_not_depend_on_the_batches(trained: Trained) -> None:
    weights, database = trained.weights(1), "../data/test_lmdb"
    target = trained.run / "predictions" / "small.h5"
    small = predict(target, trained.run, NET, weights, database, trained.real, batch_limit=7)
    assert "batch_size: 7" in target.with_suffix(".prototxt").read_text()
    usual = trained.predict(1, trained.real, "test")
    assert abs(small.probabilities - usual.probabilities).max() <= 2e-6


def test_ensembles_of_three_trained_nets(
    trained: Trained,
    forward: Callable[[int, str, int], tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> None:
    """With either trainer the errors are those of pycaffe's probabilities, counted one by one."""
    labels = forward(1, "test", TEST_IMAGES)[1].astype(int).tolist()
    by_pycaffe = [forward(seed, "test", TEST_IMAGES)[0].tolist() for seed in SEEDS]
    validation = []
    for seed in SEEDS:
        rows, true = forward(seed, "val", VALIDATION_IMAGES)
        validation.append(sum(row.argmax() == label for row, label in zip(rows, true, strict=True)))
    mean_errors = sum(
        max(range(10), key=lambda c: sum(net[i][c] for net in by_pycaffe)) != labels[i]
        for i in range(TEST_IMAGES)
    )
    single = by_pycaffe[validation.index(max(validation))]
    single_errors = sum(
        max(range(10), key=row.__getitem__) != label
        for row, label in zip(single, labels, strict=True)
    )
    for caffe in (trained.real, trained.embedded):
        found = evaluation(trained, caffe)
        assert abs(found.reported.errors - single_errors) <= 1
        mean, vote = found.ensembles
        assert (mean.method, vote.method) == ("mean", "vote")
        assert abs(mean.score.errors - mean_errors) <= 1
        assert mean.score.errors < found.members[-1].errors  # than the last on validation


def evaluation(trained: Trained, caffe: Caffe) -> Evaluation:
    members = []
    for seed in SEEDS:
        tested = trained.predict(seed, caffe, "test")
        validated = trained.predict(seed, caffe, "val")
        members.append(Member(str(seed), validated.accuracy, tested.probabilities))
    return evaluate(members, tested.labels, np.random.default_rng(1), sizes=(3,))
