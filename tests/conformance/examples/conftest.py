"""Caffe's own example prototxts, as Debian's caffe-doc has them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def caffe_doc(caffe_prefix: Path) -> Path:
    """The folder with `examples` and `models`, which `make caffe` fetches too."""
    folder = caffe_prefix / "usr" / "share" / "doc" / "caffe-doc"
    if not folder.is_dir():
        message = "Caffe's example nets are missing (run `make caffe`)"
        (pytest.fail if os.environ.get("REQUIRE_CAFFE") == "1" else pytest.skip)(message)
    return folder
