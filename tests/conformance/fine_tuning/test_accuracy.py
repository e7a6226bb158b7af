"""Test errors of the same weights on 10,000 images, and of whole fine-tunings over seeds."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from prototxt_gen.net import DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.prediction_net import prediction_net_text
from reproduce.results.prediction_log import read_scores
from tests.conformance.commands import Both, Command
from tests.conformance.fine_tuning.tasks import (
    MIXTURES,
    PATTERNS,
    SMOOTH,
    tuned_net,
    write_lmdb,
)

pytestmark = pytest.mark.conformance

SEARCHED = net_text(
    parse("[C(12,5,2), P(3,2), D(1,3), C(12,3,1), D(2,3), FC(32), D(3,3), SM(10)]"),
    (1, 28, 28),
    DataSource("patterns_lmdb", "patterns_lmdb", train_batch=50, scale=1 / 128),
    NetStyle(),
    name="searched",
)
IMAGES, BATCH = 10_000, 100


def test_errors_on_ten_thousand_images(work: Path, both: Both, pretrain: Command) -> None:
    """A net as the search samples them: ReLU, max pooling, dropout; trained by real Caffe.

    Probabilities agree to 1e-5 and the errors to one image, whether they are counted from the
    probabilities or by the Accuracy layer.
    """
    write_lmdb(work / "many_lmdb", PATTERNS, IMAGES, 3, noise=110)
    pretrain("searched", SEARCHED, 80, work)
    runs = both(
        *("test", "-model", "net.prototxt", "-weights", "searched_iter_80.caffemodel"),
        *("-iterations", str(IMAGES // BATCH)),
        net=prediction_net_text(SEARCHED, "many_lmdb", BATCH),
    )
    scores, errors = [], []
    for run in runs:
        assert run.status == 0, run.log[-2000:]
        (run.folder / "log").write_text(run.log)
        found = read_scores(run.folder / "log", IMAGES // BATCH, BATCH)
        scores.append(found)
        errors.append(int((found.probabilities.argmax(axis=1) != found.labels).sum()))
        assert errors[-1] == round(IMAGES * (1 - found.mean_accuracy))
    ours, real = scores
    assert ours.probabilities.shape == real.probabilities.shape == (IMAGES, 10)
    assert np.abs(ours.probabilities - real.probabilities).max() <= 1e-5
    assert ours.labels.tolist() == real.labels.tolist()
    assert abs(errors[0] - errors[1]) <= 1
    assert 0.02 * IMAGES < errors[1] < 0.5 * IMAGES, "the task says nothing"


# ReLU, max pooling, dropout and random crops: trajectories part, accuracies should not.
KINKED = SMOOTH
for smooth, kinked in (
    ("scale: 0.0078125", "scale: 0.0078125 crop_size: 24"),
    ("kernel_size: 5 stride: 2", "kernel_size: 5"),
    ('"ELU"', '"ReLU"'),
    ("AVE kernel_size: 3 stride: 2", "MAX kernel_size: 3 stride: 3"),
    (
        'layer { name: "scores"',
        'layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" }\nlayer { name: "scores"',
    ),
):
    KINKED = KINKED.replace(smooth, kinked)
SOLVER = (
    'net: "net.prototxt" type: "Adam" base_lr: 0.002 momentum: 0.9 weight_decay: 0.002 lr_policy: '
    '"multistep" gamma: 0.3 stepvalue: 90 stepvalue: 120 max_iter: 150 test_iter: 32 '
    "test_interval: 150 test_initialization: false snapshot_after_train: false solver_mode: CPU "
    "random_seed: "
)
SEEDS = range(1, 11)
MARGIN = 0.01


@pytest.mark.slow
def test_accuracy_of_whole_fine_tunings_over_seeds(
    work: Path, both: Both, real: Command, pretrain: Command
) -> None:
    """The 95 % interval of the mean difference of final accuracies lies within one point.

    Seeds differ in training images and their order, crops, dropout and the new layer; the two
    accuracies of a seed are a pair. Real Caffe without `-weights`, set against itself with them,
    leaves that point: a trainer that copied nothing would be seen.
    """
    write_lmdb(work / "all_patterns_lmdb", PATTERNS, 2000, 4, noise=80)
    write_lmdb(work / "test_lmdb", MIXTURES, 2048, 5, noise=80)
    pretrain("kinked", KINKED.replace("patterns_lmdb", "all_patterns_lmdb"), 300, work)
    net = tuned_net('weight_filler { type: "gaussian" std: 0.05 }', KINKED)
    net = net.replace("mixtures_lmdb", "train_lmdb", 1).replace("mixtures_lmdb", "test_lmdb")
    train = ("train", "-solver", "solver.prototxt")
    accuracies = []
    for seed in SEEDS:
        write_lmdb(work / f"train{seed}_lmdb", MIXTURES, 512, 100 + seed, noise=80)
        files = {"net": net.replace("train_lmdb", f"train{seed}_lmdb"), "solver": f"{SOLVER}{seed}"}
        tuned = both(*train, "-weights", "kinked_iter_300.caffemodel", **files)
        runs = (*tuned, real(*train, cwd=tuned[1].folder))
        assert [run.status for run in runs] == [0, 0, 0], runs[0].log[-2000:]
        accuracies.append([run.accuracies[-1] for run in runs])
    ours, theirs, anew = np.array(accuracies).T
    between, without = (stats.ttest_rel(x, theirs).confidence_interval(0.95) for x in (ours, anew))
    assert -MARGIN < between.low < between.high < MARGIN, accuracies
    assert without.low < -MARGIN, accuracies
