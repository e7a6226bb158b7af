"""Preprocessing of a batch: mean, scale, crop and mirror, as Caffe's DataTransformer."""

from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch import prototext
from caffe_torch.blob import Array, Shape, from_proto
from caffe_torch.log import FatalError


class Transformer:
    """transform_param: value = (x − mean) · scale on a crop, possibly flipped left to right.

    TRAIN crops at random, TEST in the centre; `mirror` flips at random in both phases.

    Args:
        param: the TransformationParameter.
        shape: (channels, height, width) of the data set's records.
        training: whether the phase is TRAIN.
        rng: draws crops and flips.
        layer: the layer's name, for errors.

    Raises:
        FatalError: the mean does not fit, or the crop is larger than the image.
    """

    def __init__(
        self, param: Any, shape: Shape, training: bool, rng: np.random.Generator, layer: str
    ) -> None:
        self._param = param
        self._training = training
        self._rng = rng
        self._layer = layer
        self._mean = self._read_mean(shape)
        crop = param.crop_size
        self._check(
            crop <= min(shape[1:]),
            "data_transformer.cpp:53",
            f"datum_height >= crop_size ({min(shape[1:])} vs. {crop}); make crop_size smaller",
        )
        self.shape: Shape = (shape[0], crop, crop) if crop else shape

    def __call__(self, values: Array) -> Array:
        """(N, C, H, W) as stored → (N, *self.shape) float32."""
        x = values.astype(np.float32)
        if self._mean is not None:
            x -= self._mean
        if self._param.crop_size:
            x = self._crop(x)
        if self._param.mirror:
            flipped = self._rng.integers(0, 2, len(x)).astype(bool)
            x[flipped] = x[flipped, :, :, ::-1]
        if self._param.scale != 1:
            x *= np.float32(self._param.scale)
        return x

    def _crop(self, x: Array) -> Array:
        crop = self._param.crop_size
        room = (x.shape[2] - crop, x.shape[3] - crop)
        if not self._training:
            top, left = room[0] // 2, room[1] // 2
            return np.ascontiguousarray(x[:, :, top : top + crop, left : left + crop])
        tops = self._rng.integers(0, room[0] + 1, len(x))
        lefts = self._rng.integers(0, room[1] + 1, len(x))
        corners = zip(x, tops, lefts, strict=True)
        return np.stack([image[:, t : t + crop, s : s + crop] for image, t, s in corners])

    def _read_mean(self, shape: Shape) -> Array | None:
        param = self._param
        if param.mean_file:
            self._check(
                not param.mean_value,
                "data_transformer.cpp:16",
                "Cannot specify mean_file and mean_value at the same time",
            )
            proto = prototext.read_binary(
                param.mean_file, caffe_pb2.BlobProto(), "data_transformer.cpp:22"
            )
            mean = from_proto(proto)
            mean = mean.reshape(mean.shape[-3:])
            self._check(
                mean.shape == shape,
                "data_transformer.cpp:64",
                f"datum shape == data_mean_ shape ({shape} vs. {mean.shape}) mean_file "
                f"{param.mean_file} is of other images; compute it from this data set",
            )
            return mean
        if not param.mean_value:
            return None
        self._check(
            len(param.mean_value) in (1, shape[0]),
            "data_transformer.cpp:70",
            "Specify either 1 mean_value or as many as channels: "
            f"{len(param.mean_value)} vs. {shape[0]} channels",
        )
        return np.array(param.mean_value, dtype=np.float32).reshape(-1, 1, 1)

    def _check(self, condition: bool, where: str, message: str) -> None:
        if not condition:
            raise FatalError(where, f"Check failed: {message} (layer '{self._layer}')")
