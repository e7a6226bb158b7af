"""A model trained by one program has the other's accuracy on 10,000 images, to one image."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.commands import Command
from tests.conformance.solvers.runs import FORMATS

pytestmark = pytest.mark.conformance

IMAGES, BATCH = 10_000, 500
NET = """
name: "tested"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.0078125 mean_value: 120 }
  data_param { source: "few_lmdb" batch_size: 50 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.0078125 mean_value: 120 }
  data_param { source: "many_lmdb" batch_size: 500 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 6 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "drop"
  dropout_param { dropout_ratio: 0.2 } }
layer { name: "fc" type: "InnerProduct" bottom: "drop" top: "fc" inner_product_param {
  num_output: 10 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, write_lmdb: Callable[..., None]) -> Path:
    """A folder with the net, some images to train on and many to test on."""
    path = tmp_path_factory.mktemp("accuracy")
    write_lmdb(path / "few_lmdb", 1000, 1, noise=110)
    write_lmdb(path / "many_lmdb", IMAGES, 2, noise=110)
    (path / "net.prototxt").write_text(NET)
    return path


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("trainer", ["embedded", "real"])
def test_ten_thousand_images(
    trainer: str, kind: str, work: Path, embedded: Command, real: Command
) -> None:
    """Whoever trained it, and whichever format the weights travel in."""
    stem = f"{trainer}_{kind}"
    (work / f"{stem}.prototxt").write_text(
        'net: "net.prototxt" type: "Adam" base_lr: 0.002 momentum: 0.9 lr_policy: "fixed" '
        f'max_iter: 60 snapshot_prefix: "{stem}" snapshot_format: {kind} random_seed: 3'
    )
    train = {"embedded": embedded, "real": real}[trainer]
    run = train("train", "-solver", f"{stem}.prototxt", cwd=work)
    assert run.status == 0, run.log[-1000:]
    weights = f"{stem}_iter_60.caffemodel{FORMATS[kind]}"
    correct = []
    for command in (embedded, real):
        run = command(
            *("test", "-model", "net.prototxt", "-weights", weights),
            *("-iterations", str(IMAGES // BATCH)),
            cwd=work,
        )
        assert run.status == 0, run.log[-1000:]
        batches = run.said(r"Batch \d+, accuracy = (\S+)")
        assert len(batches) == IMAGES // BATCH
        correct.append(round(sum(float(x) * BATCH for x in batches)))
    assert abs(correct[0] - correct[1]) <= 1
    assert 0.3 * IMAGES < correct[1] < 0.98 * IMAGES, "the task says nothing"
