"""A small MNIST, the experiment cut down to it, and a whole run of it with the scripted `caffe`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.idx import encode_idx
from reproduce.experiments.load import experiment_path
from tests.reproduce.whole_run import FAKE, Run


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's four files with few images: a bright square whose place tells the class."""
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    for part, count in (("train", 1000), ("t10k", 200)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = 3 + 11 * (label // 5), 1 + 5 * (label % 5)
            image[row : row + 6, column : column + 5] += 180
        (folder / f"{part}-images-idx3-ubyte").write_bytes(encode_idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(encode_idx(labels))
    return folder


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MNIST experiment, cut down to those few images; budget `smoke`."""
    text = experiment_path("mnist").read_text()
    for old, new in (
        ("train_images = 60000", "train_images = 1000"),
        ("test_images = 10000", "test_images = 200"),
        ("validation = 5000", "validation = 200"),
        ("train_subset = 1280", "train_subset = 640"),
        ("schedule = [[1.0, 2], [0.1, 1]]", "schedule = [[1.0, 4], [0.5, 2]]"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path_factory.mktemp("experiment") / "mnist.toml"
    path.write_text(text)
    return path


@pytest.fixture
def fake(tmp_path: Path, experiment: Path, digits: Path) -> Run:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"seconds": 0.01}))
    run = Run(tmp_path / "fake", experiment, digits, f"{sys.executable} {FAKE}")
    run.env["FAKE_CAFFE"] = str(script)
    return run
