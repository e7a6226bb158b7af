"""Layers that read and transform images ahead of the net, in a thread of their own."""

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from caffe_torch.blob import Shape
from caffe_torch.layers.base import Context, Layer, Shapes, Tensors
from caffe_torch.layers.feed import Batch, Feed, Records
from caffe_torch.transform import Transformer

Item = Batch | Exception | None


class PrefetchingLayer(Layer):
    """Tops: values (batch, C, H, W), transformed; labels (batch), as float32.

    While records are read, a thread keeps up to `data_param.prefetch` batches ready; once all
    are in memory (see `feed.cache_bytes`), it ends and each batch is cut out when the net asks
    for it. On the CPU the thread transforms as well; for a GPU, batches go there as stored, and
    are transformed there. Source: BasePrefetchingDataLayer.
    """

    bottoms = (0, 0)

    def __init__(self, param: Any, context: Context) -> None:
        super().__init__(param, context)
        self.rng = np.random.default_rng(context.rng.integers(2**63))
        self._queue: queue.Queue[Item] | None = None
        self._ended = False

    def prepare(
        self, records: Records, batch: int, shape: Shape, transformer: Transformer, start: int = 0
    ) -> None:
        """Say what is read and how it is transformed; called once, in `setup`.

        Args:
            records: the data set.
            batch: records per batch.
            shape: (C, H, W) of the first record.
            transformer: what the net gets of a record.
            start: the place of the first record that is read.
        """
        device = self.context.device
        self._batch = batch
        self._transformer = transformer
        self._feed = Feed(records, batch, device, transformer.check_size, shape, start)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        shapes = [(self._batch, *self._transformer.shape), (self._batch,)]
        return shapes[: len(self.param.top)]

    def next_batch(self) -> Batch:
        """The next batch, transformed, on the net's device; its wraps are those of the reading.

        Raises:
            FatalError: what the thread could not read.
        """
        if self._ended:
            return _transformed(next(self._feed), self._transformer, self.context.device)
        if self._queue is None:
            self._queue = self._start()
        item = self._queue.get()
        if isinstance(item, Exception):
            self._queue.put(item)  # for whoever asks again: the thread has ended
            raise item
        if item is None:
            self._ended = True
            return self.next_batch()
        if self.context.device.type == "cpu":
            return item
        return _transformed(item, self._transformer, self.context.device)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        values, labels, _ = self.next_batch()
        assert isinstance(values, torch.Tensor)  # noqa: S101
        return [values, labels][: len(self.param.top)]

    def _start(self) -> "queue.Queue[Item]":
        ahead: queue.Queue[Item] = queue.Queue(max(1, self.param.data_param.prefetch))
        stop = threading.Event()
        weakref.finalize(self, stop.set)
        batches = _reading(self._feed, self._transformer, self.context.device)
        arguments = (batches, ahead, stop)
        threading.Thread(target=_prefetch, args=arguments, daemon=True).start()
        return ahead


def _reading(feed: Feed, transformer: Transformer, device: torch.device) -> Iterator[Batch]:
    """Batches until all records are in memory: transformed for the CPU, else as stored."""
    while not feed.in_memory:
        batch = next(feed)
        if device.type == "cpu":
            yield _transformed(batch, transformer, device)
        elif isinstance(batch.images, torch.Tensor):
            yield batch._replace(images=batch.images.pin_memory())  # to be uploaded without a wait
        else:
            yield batch


def _transformed(batch: Batch, transformer: Transformer, device: torch.device) -> Batch:
    images, labels, wraps = batch
    if isinstance(images, torch.Tensor):
        moved: Any = images.to(device, non_blocking=True)
    else:
        moved = [image.to(device, non_blocking=True) for image in images]
    values = transformer.batch(moved)
    return Batch(values, labels.to(device, non_blocking=True, copy=True), wraps)


def _prefetch(batches: Iterator[Batch], ahead: "queue.Queue[Item]", stop: threading.Event) -> None:
    """Keep `ahead` full until `stop` or the last batch, which None follows.

    A failure is raised where the batch would be taken.
    """
    item: Item = None
    while not stop.is_set():
        try:
            item = next(batches, None)
        except Exception as failure:
            item = failure
        while not stop.is_set():
            try:
                ahead.put(item, timeout=1)
                break
            except queue.Full:
                continue
        if not isinstance(item, Batch):
            return
