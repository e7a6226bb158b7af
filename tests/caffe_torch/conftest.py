"""Small LMDBs, and nets written as text."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.net import Net
from caffe_torch.runtime import Runtime


@pytest.fixture
def write_images() -> Callable[[Path, NDArray[np.uint8]], None]:
    """Write images (N, C, H, W) to an LMDB at a path, labelled with their index modulo 10."""

    def write(path: Path, images: NDArray[np.uint8]) -> None:
        with (
            lmdb.open(str(path), map_size=1 << 26) as environment,
            environment.begin(write=True) as transaction,
        ):
            for i, image in enumerate(images):
                channels, height, width = image.shape
                datum = caffe_pb2.Datum(
                    channels=channels,
                    height=height,
                    width=width,
                    data=image.tobytes(),
                    label=i % 10,
                )
                transaction.put(f"{i:06d}".encode(), datum.SerializeToString())

    return write


@pytest.fixture
def make_net() -> Callable[..., Net]:
    """Build a net from its text: (text, phase, seed) → Net."""

    def make(text: str, phase: int = caffe_pb2.TRAIN, seed: int = 1) -> Net:
        param = text_format.Parse(text, caffe_pb2.NetParameter())
        param.state.phase = phase
        return Net(param, Runtime.create(seed))

    return make
