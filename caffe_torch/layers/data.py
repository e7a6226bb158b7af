"""Layers without bottoms: where the values come from."""

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch.blob import Array, Shape
from caffe_torch.database import Database
from caffe_torch.layers.base import ANY, Context, Layer, Shapes, Tensors
from caffe_torch.log import info
from caffe_torch.transform import Transformer

Batch = tuple[Array, Array, int]
Item = Batch | Exception


class Input(Layer, type="Input"):
    """input_param: tops of given shapes (one for all, or one each), filled by the caller.

    The net keeps their values in its blobs; there is nothing to compute. Source: InputLayer.
    """

    bottoms = (0, 0)
    tops = (1, ANY)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        shapes = [tuple(shape.dim) for shape in self.param.input_param.shape]
        n = len(self.param.top)
        self.check(
            len(shapes) in (0, 1, n),
            "input_layer.cpp:13",
            f"num_shape == 0 || num_shape == 1 || num_shape == num_top Must specify 'shape' once, "
            f"once per top blob, or not at all: {n} tops vs. {len(shapes)} shapes.",
        )
        return (shapes or [()]) * n if len(shapes) <= 1 else shapes


class Data(Layer, type="Data"):
    """data_param, transform_param: batches of an LMDB's records, in key order, round and round.

    Tops: values (batch_size, C, H, W); optionally labels (batch_size), as float32. A thread of
    its own reads and transforms ahead. `source` is relative to the working folder. Source:
    DataLayer, BasePrefetchingDataLayer.
    """

    bottoms = (0, 0)
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
        self.check(p.batch_size > 0, "data_layer.cpp:37", "batch_size > 0; give batch_size")
        self.database = Database(p.source, self.name)
        self._queue: queue.Queue[Item] | None = None
        self._rng = np.random.default_rng(context.rng.integers(2**63))

    def setup(self, bottoms: Shapes) -> None:
        self._transformer = Transformer(
            self.param.transform_param,
            self.database.first_shape(),
            self.context.training,
            self._rng,
            self.name,
        )
        info(
            "data_layer.cpp:45",
            "output data size: "
            + ",".join(map(str, (self.param.data_param.batch_size, *self._transformer.shape))),
        )

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        batch = self.param.data_param.batch_size
        return [(batch, *self._transformer.shape), (batch,)][: len(self.param.top)]

    def _start(self) -> "queue.Queue[Item]":
        ahead: queue.Queue[Item] = queue.Queue(max(1, self.param.data_param.prefetch))
        stop = threading.Event()
        weakref.finalize(self, stop.set)
        batches = _batches(self.database, self._transformer, self.param.data_param, self._rng)
        arguments = (batches, ahead, stop)
        threading.Thread(target=_prefetch, args=arguments, daemon=True).start()
        return ahead

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        if self._queue is None:
            self._queue = self._start()
        batch = self._queue.get()
        if isinstance(batch, Exception):
            raise batch
        values, labels, wraps = batch
        for _ in range(wraps):
            info("data_layer.cpp:73", "Restarting data prefetching from start.")
        device = self.context.device
        x = torch.from_numpy(values).permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
        tops = [x, torch.from_numpy(labels)][: len(self.param.top)]
        return [top.to(device, non_blocking=True) for top in tops]


def _batches(
    database: Database, transformer: Transformer, param: Any, rng: np.random.Generator
) -> Iterator[Batch]:
    """Transformed batches, laid out as NHWC in memory, which is PyTorch's channels_last."""
    skip = int(rng.integers(0, param.rand_skip)) if param.rand_skip else 0
    for values, labels, wraps in database.batches(param.batch_size, skip):
        yield np.ascontiguousarray(transformer(values).transpose(0, 2, 3, 1)), labels, wraps


def _prefetch(batches: Iterator[Batch], ahead: "queue.Queue[Item]", stop: threading.Event) -> None:
    """Keep `ahead` full until `stop`; a failure is raised where the batch would be taken."""
    item: Item
    while not stop.is_set():
        try:
            item = next(batches)
        except Exception as failure:
            item = failure
        while not stop.is_set():
            try:
                ahead.put(item, timeout=1)
                break
            except queue.Full:
                continue
        if isinstance(item, Exception):
            return
