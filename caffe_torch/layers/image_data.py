"""The ImageData layer: batches of image files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_torch import images
from caffe_torch.blob import Shape
from caffe_torch.database import Record
from caffe_torch.layers.base import Shapes
from caffe_torch.layers.prefetch import PrefetchingLayer
from caffe_torch.log import FatalError, error, info
from caffe_torch.transform import Transformer, load_mean


class ImageList:
    """The image files of a list, read in its order, or in one drawn for each pass.

    Args:
        param: the ImageDataParameter.
        layer: the layer's name, for errors.
        rng: draws the order where `shuffle` asks for it.

    Attributes:
        size: the number of images.

    Raises:
        FatalError: the list is missing or empty.
    """

    def __init__(self, param: Any, layer: str, rng: np.random.Generator) -> None:
        self._param = param
        self._layer = layer
        self._rng = rng
        info("image_data_layer.cpp:38", f"Opening file {param.source}")
        try:
            lines = Path(param.source).read_text(encoding="utf-8").splitlines()
            reason = "write a line `path label` for each image"
        except (OSError, UnicodeDecodeError) as failure:
            lines, reason = [], f"it cannot be read from the folder {Path.cwd()} ({failure})"
        if not lines:
            raise FatalError(
                "image_data_layer.cpp:49",
                f"Check failed: !lines_.empty() File is empty: '{param.source}', the source of "
                f"layer '{layer}'; {reason}",
            )
        self._lines = [_split(line) for line in lines]
        self.size = len(lines)
        self._reads = 0
        if param.shuffle:
            info("image_data_layer.cpp:53", "Shuffling data")
        self.restart()

    def order(self) -> NDArray[np.int64] | None:
        """The place in the list of each image of this pass; None: as listed."""
        return self._order

    def restart(self) -> None:
        """Draw the order of the next pass."""
        self._order = self._rng.permutation(self.size) if self._param.shuffle else None

    def describe(self, number: int) -> str:
        """How errors call an image."""
        return f"image {self._lines[number][0]} of '{self._param.source}'"

    def read(self, start: int) -> Iterator[Record]:
        """The images of this pass from place `start` on, decoded and resized.

        Raises:
            FatalError: a file is missing, or not an image.
        """
        order = self._order
        for place in range(start, self.size):
            first = self._reads % self._param.batch_size == 0  # of a batch: for its size
            self._reads += 1
            yield self.load(place if order is None else int(order[place]), 129 if first else 148)

    def load(self, number: int, line: int) -> Record:
        """One image of the list.

        Args:
            number: its place there.
            line: of image_data_layer.cpp, for the error.

        Raises:
            FatalError: the file is missing, or not an image.
        """
        name, label = self._lines[number]
        path = self._param.root_folder + name
        try:
            image = images.decode(Path(path).read_bytes(), self._param.is_color)
        except (OSError, images.UnreadableImageError) as failure:
            error("io.cpp:83", f"Could not open or find file {path}")
            raise FatalError(
                f"image_data_layer.cpp:{line}",
                f"Check failed: cv_img.data Could not load {name} (line {number + 1} of "
                f"'{self._param.source}', layer '{self._layer}': {failure}; give a PNG or JPEG "
                "file, relative to root_folder)",
            ) from None
        if self._param.new_height:
            image = images.resize(image, self._param.new_height, self._param.new_width)
        return Record(image, label)


class ImageData(PrefetchingLayer, type="ImageData"):
    """image_data_param, transform_param: batches of the images of a list, round and round.

    `source` lists `path label` in lines; a path follows `root_folder` as it is. Tops: values
    (batch_size, 3 or with `is_color: false` 1, H, W), in the order B, G, R; labels (batch_size),
    as float32. `new_height` and `new_width` resize; without them sizes may differ only with a
    crop or in batches of one. `shuffle` draws another order for each pass, and `rand_skip` leaves
    out up to that many images less one at the start. Source: ImageDataLayer.
    """

    tops = (2, 2)

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.image_data_param
        self.check(
            (p.new_height > 0) == (p.new_width > 0),
            "image_data_layer.cpp:33",
            "(new_height == 0 && new_width == 0) || (new_height > 0 && new_width > 0) Current "
            "implementation requires new_height and new_width to be set at the same time.",
        )
        mean_image = load_mean(self.param.transform_param, self.name)
        listed = ImageList(p, self.name, self.rng.spawn(1)[0])
        info("image_data_layer.cpp:63", f"A total of {listed.size} images.")
        start = int(self.rng.integers(p.rand_skip)) if p.rand_skip else 0
        if p.rand_skip:
            info("image_data_layer.cpp:70", f"Skipping first {start} data points.")
            self.check(
                listed.size > start,
                "image_data_layer.cpp:71",
                f"lines_.size() > skip ({listed.size} vs. {start}) Not enough points to skip; make "
                "rand_skip smaller",
            )
        order = listed.order()
        first = start if order is None else int(order[start])
        height, width, channels = listed.load(first, 77).image.shape
        shape: Shape = (channels, height, width)
        self.check(
            p.batch_size > 0,
            "image_data_layer.cpp:83",
            f"batch_size > 0 ({p.batch_size} vs. 0) Positive batch size required",
        )
        training = self.context.training
        transformer = Transformer(
            self.param.transform_param, shape, training, self.rng, self.name, True, mean_image
        )
        size = ",".join(map(str, (p.batch_size, *transformer.shape)))
        info("image_data_layer.cpp:90", f"output data size: {size}")
        self.prepare(listed, p.batch_size, shape, transformer, start)


def _split(line: str) -> tuple[str, float]:
    """Path and label of a line: what is before and behind its last blank; 0 where no number is."""
    name, blank, label = line.rpartition(" ")
    digits = re.match(r"[+-]?\d+", label)
    return name if blank else line, float(digits[0]) if digits else 0.0
