"""The Data layer: batches of an LMDB."""

from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from numpy.typing import NDArray

from caffe_torch.database import Database
from caffe_torch.layers.base import Context, Shapes, Tensors
from caffe_torch.layers.prefetch import PrefetchingLayer
from caffe_torch.log import error, info
from caffe_torch.transform import Transformer


class _InKeyOrder(Database):
    """An LMDB as a feed reads it: every pass the same."""

    def order(self) -> NDArray[np.int64] | None:
        """None: the records in key order."""
        return None

    def restart(self) -> None:
        """Nothing changes from pass to pass."""


class Data(PrefetchingLayer, type="Data"):
    """data_param, transform_param: batches of an LMDB's records, in key order, round and round.

    Tops: values (batch_size, C, H, W); optionally labels (batch_size), as float32. Records are
    bytes, floats, or encoded images, whose channels `force_color` and `force_gray` set; with a
    crop, or in batches of one, their sizes may differ. `source` is relative to the working
    folder. Caffe 1.0 has a field `rand_skip` and leaves it unread, and so does this. Source:
    DataLayer.
    """

    tops = (1, 2)

    def __init__(self, param: Any, context: Context) -> None:
        super().__init__(param, context)
        p = param.data_param
        self.check(
            p.backend == caffe_pb2.DataParameter.LMDB,
            "db.cpp:12",
            "backend == LMDB this engine reads LMDB; set data_param.backend: LMDB (Caffe's default "
            "is LEVELDB) and convert the data set",
        )
        self.check(
            p.batch_size > 0,
            "blob.cpp:133",
            "data_ a batch_size of 0 makes an empty blob; give data_param.batch_size",
        )
        transform = param.transform_param
        color = True if transform.force_color else False if transform.force_gray else None
        self.database = _InKeyOrder(p.source, self.name, color)

    def setup(self, bottoms: Shapes) -> None:
        param = self.param.transform_param
        encoded = self.database.first_is_encoded()
        if param.force_color or param.force_gray:
            self.check(
                not (encoded and param.force_color and param.force_gray),
                "data_transformer.cpp:445",
                "!(param_.force_color() && param_.force_gray()) cannot set both force_color and "
                "force_gray; remove one",
            )
            if not encoded:
                message = "force_color and force_gray only for encoded datum"
                error("data_transformer.cpp:152", message)
        shape = self.database.first_shape()
        training = self.context.training
        transformer = Transformer(param, shape, training, self.rng, self.name, encoded)
        batch = self.param.data_param.batch_size
        size = ",".join(map(str, (batch, *transformer.shape)))
        info("data_layer.cpp:45", f"output data size: {size}")
        self.prepare(self.database, batch, shape, transformer)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        values, labels, wraps = self.next_batch()
        for _ in range(wraps):
            info("data_layer.cpp:73", "Restarting data prefetching from start.")
        return [torch.as_tensor(values), labels][: len(self.param.top)]
