"""Batches out of an endless sequence of records, which stay in memory once they were read."""

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from caffe_torch.blob import Shape
from caffe_torch.database import Record
from caffe_torch.log import FatalError

CACHE = "CAFFE_TORCH_CACHE_MB"
_DEFAULT_CACHE = 1 << 30
_DEVICE_SHARE = 4

CheckSize = Callable[[Shape, Shape, Callable[[], str]], None]
"""(shape, the batch's first shape, what says which record): a FatalError where it cannot be."""


class Batch(NamedTuple):
    """Records as stored.

    Attributes:
        images: (N, H, W, C), uint8 or float32; or a list of (1, H, W, C) where sizes differ.
        labels: (N), float32.
        wraps: how often the batch came to the end of the data set.
    """

    images: torch.Tensor | Sequence[torch.Tensor]
    labels: torch.Tensor
    wraps: int


class Records(Protocol):
    """A data set that can be read from any record on."""

    @property
    def size(self) -> int:
        """The number of records."""

    def read(self, start: int) -> Iterator[Record]:
        """One pass over the records in the order of `order`, from place `start` on."""

    def order(self) -> NDArray[np.int64] | None:
        """The record at each place of the current pass; None: each at its own."""

    def restart(self) -> None:
        """Begin another pass."""

    def describe(self, number: int) -> str:
        """What errors call a record."""


class _Memory:
    """Room for a whole data set, filled as its records are read."""

    kept: ClassVar["weakref.WeakSet[_Memory]"] = weakref.WeakSet()

    def __init__(self, size: int, image: NDArray[Any]) -> None:
        self.images = np.empty((size, *image.shape), image.dtype)
        self.labels = np.empty(size, np.float32)
        self.missing = np.ones(size, bool)
        self.kept.add(self)

    @classmethod
    def reserve(cls, size: int, image: NDArray[Any]) -> "_Memory | None":
        """Room for `size` images like this one, unless that is more than is left of the bound."""
        used = sum(memory.images.nbytes for memory in cls.kept)
        return cls(size, image) if size * image.nbytes <= cache_bytes() - used else None

    def store(self, numbers: list[int], images: NDArray[Any], labels: NDArray[np.float32]) -> None:
        """Keep some records."""
        self.images[numbers] = images
        self.labels[numbers] = labels
        self.missing[numbers] = False


def cache_bytes() -> int:
    """How much the data sets of this process may keep in memory.

    CAFFE_TORCH_CACHE_MB mebibytes (0: nothing); without it 1 GiB, but no more than an eighth of
    the machine's memory.

    Raises:
        FatalError: the variable is not a whole number.
    """
    text = os.environ.get(CACHE, "")
    if text.isdigit():
        return int(text) << 20
    if text:
        raise FatalError("feed.py:1", f"{CACHE} is a whole number of mebibytes, not {text!r}")
    return min(_DEFAULT_CACHE, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)


class Feed(Iterator[Batch]):
    """Endless batches; each may go past the last record to the first.

    Args:
        records: where they come from.
        batch: records per batch.
        device: where they are kept, once all were read.
        check_size: whether a record of another size than `shape` can be in a batch.
        shape: (channels, height, width) of the first record.
        start: the place of the first record in the first pass.

    Attributes:
        in_memory: whether every record is in memory, so that a batch costs no reading.
    """

    def __init__(
        self,
        records: Records,
        batch: int,
        device: torch.device,
        check_size: CheckSize,
        shape: Shape,
        start: int = 0,
    ) -> None:
        self.in_memory = False
        self._records = records
        self._batch = batch
        self._device = device
        self._check_size = check_size
        self._shape = (shape[1], shape[2], shape[0])
        self._place = start
        self._reader: Iterator[Record] | None = None
        self._memory: _Memory | None = None
        self._first = True
        self._images = self._labels = torch.empty(0)

    def __next__(self) -> Batch:
        if self.in_memory:
            return self._from_memory()
        batch = self._from_records()
        if self._memory is not None and not self._memory.missing.any():
            self._settle(self._memory)
        return batch

    def _from_records(self) -> Batch:
        read: list[Record] = []
        numbers: list[int] = []
        wraps = 0
        while len(read) < self._batch:
            if self._reader is None:
                self._reader = self._records.read(self._place)
            read.append(next(self._reader))
            order = self._records.order()
            numbers.append(self._place if order is None else int(order[self._place]))
            wraps += self._advance(1)
        labels = np.array([record.label for record in read], np.float32)
        shapes = {record.image.shape for record in read}
        if shapes != {self._shape}:
            self._check_sizes(read, numbers)
        if len(shapes) > 1:
            self._memory, self._first = None, False
            pieces = [torch.from_numpy(_channels_last(record.image[None])) for record in read]
            return Batch(pieces, torch.from_numpy(labels), wraps)
        images = _channels_last(np.stack([record.image for record in read]))
        self._keep(numbers, images, labels)
        return Batch(torch.from_numpy(images), torch.from_numpy(labels), wraps)

    def _check_sizes(self, read: list[Record], numbers: list[int]) -> None:
        """Refuse a batch of records whose sizes do not go together."""
        first = (self._shape[2], *read[0].image.shape[:2])
        for record, number in zip(read, numbers, strict=True):
            height, width, channels = record.image.shape
            describe = partial(self._records.describe, number)
            self._check_size((channels, height, width), first, describe)

    def _keep(self, numbers: list[int], images: NDArray[Any], labels: NDArray[np.float32]) -> None:
        """Put records into memory; give up where they do not fit, or are not all alike."""
        if self._first:
            self._memory = _Memory.reserve(self._records.size, images[0])
            self._first = False
        if self._memory is None:
            return
        kept = self._memory.images
        if images.shape[1:] == kept.shape[1:] and images.dtype == kept.dtype:
            self._memory.store(numbers, images, labels)
        else:
            self._memory = None

    def _settle(self, memory: _Memory) -> None:
        """All records are here: from now on a batch is a piece of these."""
        self._images, self._labels = map(torch.from_numpy, (memory.images, memory.labels))
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            if memory.images.nbytes * _DEVICE_SHARE <= free:
                self._images = self._images.to(self._device)
                self._labels = self._labels.to(self._device)
                self._memory = None
        self._reader = None
        self.in_memory = True

    def _from_memory(self) -> Batch:
        images, labels, wraps, need = [], [], 0, self._batch
        while need:
            count = min(need, self._records.size - self._place)
            order = self._records.order()
            which: Any = slice(self._place, self._place + count)
            if order is not None:
                which = torch.from_numpy(order[which]).to(self._images.device)
            images.append(self._images[which])
            labels.append(self._labels[which])
            need -= count
            wraps += self._advance(count)
        if len(images) == 1:
            return Batch(images[0], labels[0], wraps)
        return Batch(torch.cat(images), torch.cat(labels), wraps)

    def _advance(self, count: int) -> int:
        """Go on by some places; 1 where that was the end of a pass, which begins another."""
        self._place += count
        if self._place < self._records.size:
            return 0
        self._place = 0
        self._reader = None
        self._records.restart()
        return 1


def _channels_last(images: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W, C) in this order in memory, copied a channel at a time, which is the fast way."""
    if images.flags.c_contiguous:
        return images
    copied = np.empty(images.shape, images.dtype)
    for channel in range(images.shape[3]):
        copied[..., channel] = images[..., channel]
    return copied
