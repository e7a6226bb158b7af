"""Preprocessing of a batch: mean, scale, crop and mirror, as Caffe's DataTransformer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from numpy.typing import NDArray

from caffe_torch import prototext
from caffe_torch.blob import Array, Shape, from_proto
from caffe_torch.log import FatalError, info

# Lines of data_transformer.cpp: of raw records, and of decoded images.
_RAW = {"too small": 466, "channels": 167, "least": 168, "equal": 176, "mean": 62, "values": 68}
_IMAGE = {"too small": 498, "channels": 239, "least": 240, "equal": 290, "mean": 257, "values": 263}


class Transformer:
    """transform_param: value = (x − mean) · scale on a crop, possibly flipped left to right.

    TRAIN crops at random, TEST in the centre; `mirror` flips at random in both phases. The mean
    is that of the pixel in the whole image, whichever way it is cropped or flipped. force_color
    and force_gray are the decoder's.

    Args:
        param: the TransformationParameter.
        shape: (channels, height, width) of the data set's first record.
        training: whether the phase is TRAIN.
        rng: draws crops and flips.
        layer: the layer's name, for errors.
        images: whether records are decoded images, of which Caffe's errors speak in other words.
        mean_image: what `load_mean` has loaded; None: it is loaded here.

    Attributes:
        shape: (channels, height, width) of a transformed record.

    Raises:
        FatalError: the mean does not fit, or the crop is larger than the image.
    """

    def __init__(
        self,
        param: Any,
        shape: Shape,
        training: bool,
        rng: np.random.Generator,
        layer: str,
        images: bool = False,
        mean_image: Array | None = None,
    ) -> None:
        self._param = param
        self._training = training
        self._rng = rng
        self._layer = layer
        self._noun, self._lines = ("img", _IMAGE) if images else ("datum", _RAW)
        self._mean_shape: Shape | None = None
        if mean_image is None:
            mean_image = load_mean(param, layer)
        mean = self._read_mean(shape, mean_image)
        self._mean = None if mean is None else torch.from_numpy(mean)
        crop = param.crop_size
        for i, (side, size) in enumerate(zip(("height", "width"), shape[1:], strict=True)):
            self._check(
                size >= crop,
                self._lines["too small"] + i,
                f"{self._noun}_{side} >= crop_size ({size} vs. {crop}) make crop_size smaller",
            )
        self._check_mean(shape)
        self.shape: Shape = (shape[0], crop, crop) if crop else shape

    def __call__(self, values: Array) -> Array:
        """(N, C, H, W) as stored → (N, *self.shape) float32."""
        stored = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 2, 3, 1)))
        return np.ascontiguousarray(self.batch(stored).numpy())

    def batch(self, images: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        """A batch as the net reads it, on the images' device.

        Args:
            images: (N, H, W, C), uint8 or float32; or a list of those with N = 1, of several
                sizes, which `check_size` has let pass.

        Returns:
            (N, C, height, width) in new memory, float32, channels_last.
        """
        if not isinstance(images, torch.Tensor):
            return torch.cat([self.batch(image) for image in images])
        windows = self._draw(*images.shape[:3])
        x = windows.cut(images)
        values: Any
        if x.is_cpu:  # an array: one batch is too little for several threads
            values = np.array(x.numpy(), np.float32, order="C")
        else:
            layout = torch.contiguous_format
            values = x.to(torch.float32, copy=windows.fixed, memory_format=layout)
        if self._mean is not None:
            values = values - self._mean_under(windows, x.device)
        if self._param.scale != 1:
            values = values * self._param.scale
        return torch.as_tensor(values).permute(0, 3, 1, 2)

    def _mean_under(self, windows: "Windows", device: torch.device) -> Any:
        """The mean of each pixel that the windows show; on the CPU an array."""
        assert self._mean is not None  # noqa: S101
        mean = self._mean = self._mean.to(device)
        if mean.dim() == 3:
            n = 1 if windows.fixed else len(windows.tops)
            mean = windows.cut(mean.expand(n, *mean.shape))
        return mean.numpy() if mean.is_cpu else mean

    def _draw(self, n: int, height: int, width: int) -> "Windows":
        """Which part of each of n images the net gets."""
        crop = self._param.crop_size
        size = (crop or height, crop or width)
        room = (height - size[0], width - size[1])
        middle = np.full(n, room[0] // 2), np.full(n, room[1] // 2)
        if not (self._param.mirror or (crop and self._training)):
            return Windows(size, *middle, np.zeros(n, bool), fixed=True)
        corners = middle
        if self._training:
            corners = self._rng.integers(0, room[0] + 1, n), self._rng.integers(0, room[1] + 1, n)
        flips = self._rng.integers(0, 2, n) if self._param.mirror else np.zeros(n)
        return Windows(size, *corners, flips.astype(bool))

    def check_size(self, shape: Shape, first: Shape, record: Callable[[], str]) -> None:
        """Whether a record fits into a batch, which has the size of its first record's output.

        Args:
            shape, first: (channels, height, width) of the record and of the batch's first.
            record: says what it is, for the error.

        Raises:
            FatalError: other channels, smaller than the crop, or, without one, of another size.
        """
        noun, crop = self._noun, self._param.crop_size
        rule, line = "", 0
        if shape[0] != first[0]:
            rule = f"channels == {noun}_channels ({first[0]} vs. {shape[0]})"
            line = self._lines["channels"]
        for i, side in enumerate(("height", "width")):
            size, other = shape[i + 1], first[i + 1]
            if not rule and size < (crop or other):
                rule = f"{side} <= {noun}_{side} ({crop or other} vs. {size})"
                line = self._lines["least"] + i
        for i, side in enumerate(("height", "width")):
            size, other = shape[i + 1], first[i + 1]
            if not rule and not crop and size != other:
                rule = f"{noun}_{side} == {side} ({size} vs. {other})"
                line = self._lines["equal"] + i
        if rule:
            hint = f"{record()} has the shape {shape}; write all records in one size"
            self._check(False, line, f"{rule} {hint}")
        self._check_mean(shape)

    def _check_mean(self, shape: Shape) -> None:
        if self._mean_shape is None:
            return
        names = ("channels", "height", "width")
        for i, (side, size, mean) in enumerate(zip(names, shape, self._mean_shape, strict=True)):
            self._check(
                size == mean,
                self._lines["mean"] + i,
                f"{self._noun}_{side} == data_mean_.{side}() ({size} vs. {mean}) mean_file "
                f"{self._param.mean_file} is of other images; compute it from this data set",
            )

    def _read_mean(self, shape: Shape, image: Array | None) -> Array | None:
        """The mean as the images lie in memory: (H, W, C) of a file, (C) of values."""
        if image is not None:
            self._mean_shape = image.shape
            return np.ascontiguousarray(image.transpose(1, 2, 0))
        values = self._param.mean_value
        if not values:
            return None
        self._check(
            len(values) in (1, shape[0]),
            self._lines["values"],
            "mean_values_.size() == 1 || mean_values_.size() == "
            f"{self._noun}_channels Specify either 1 mean_value or as many as channels: "
            f"{shape[0]}; there are {len(values)}",
        )
        return np.array(values, dtype=np.float32)

    def _check(self, condition: bool, line: int, message: str) -> None:
        if not condition:
            where = f"data_transformer.cpp:{line}"
            raise FatalError(where, f"Check failed: {message} (layer '{self._layer}')")


def load_mean(param: Any, layer: str) -> Array | None:
    """The array (C, H, W) of a TransformationParameter's mean_file; None where it has none.

    Raises:
        FatalError: there are mean values too, or the file is missing or no BlobProto.
    """
    if not param.mean_file:
        return None
    n = len(param.mean_value)
    if n:
        raise FatalError(
            "data_transformer.cpp:21",
            f"Check failed: param_.mean_value_size() == 0 ({n} vs. 0) Cannot specify mean_file "
            f"and mean_value at the same time; remove one (layer '{layer}')",
        )
    info("data_transformer.cpp:25", f"Loading mean file from: {param.mean_file}")
    try:
        proto = prototext.read_binary(param.mean_file, caffe_pb2.BlobProto(), "io.hpp:78")
        mean = from_proto(proto)
    except FatalError as failure:
        message = failure.message.replace("(param_file, param)", "(filename, proto)")
        raise FatalError(failure.where, f"{message} (mean_file of layer '{layer}')") from None
    return mean.reshape((1, 1, 1, *mean.shape)[-3:])


@dataclass(frozen=True)
class Windows:
    """One window of each image of a batch.

    Attributes:
        size: height and width.
        tops, lefts: (N), the corners.
        flips: (N), whether a window is flipped left to right.
        fixed: whether all have the same corner and none is flipped.
    """

    size: tuple[int, int]
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    flips: NDArray[np.bool_]
    fixed: bool = False

    def cut(self, images: torch.Tensor) -> torch.Tensor:
        """(N, H, W, C) → (N, *size, C); a view where the windows are fixed, N = 1 for all then."""
        if self.fixed:
            (height, width), top, left = self.size, int(self.tops[0]), int(self.lefts[0])
            return images[:, top : top + height, left : left + width]
        return self.copied(images) if images.is_cpu else self.gathered(images)

    def copied(self, images: torch.Tensor) -> torch.Tensor:
        """The same, image by image, on the CPU: three times as fast there as `gathered`."""
        (height, width), stored = self.size, images.numpy()
        cut = np.empty((len(self.tops), height, width, stored.shape[3]), stored.dtype)
        places = zip(self.tops.tolist(), self.lefts.tolist(), self.flips.tolist(), strict=True)
        for target, image, (top, left, flip) in zip(cut, stored, places, strict=True):
            window = image[top : top + height, left : left + width]
            target[...] = window[:, ::-1] if flip else window
        return torch.from_numpy(cut)

    def gathered(self, images: torch.Tensor) -> torch.Tensor:
        """The same in one step, on any device."""
        height, width = self.size
        drawn = torch.from_numpy(np.stack([self.tops, self.lefts, self.flips])).to(images.device)
        tops, lefts, flips = drawn[:, :, None]
        each, across = (torch.arange(n, device=images.device) for n in (len(self.tops), width))
        rows = tops + torch.arange(height, device=images.device)
        columns = lefts + torch.where(flips.bool(), width - 1 - across, across)
        return images[each[:, None, None], rows[:, :, None], columns[:, None, :]]
