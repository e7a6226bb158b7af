"""Images in and out of blobs and records: `caffe.io`.

Images are arrays (height, width, channels), float32 in [0, 1], unless said otherwise.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


# Blobs and records


def blobproto_to_array(blob: Any, return_diff: bool = False) -> Array:
    """The values of a BlobProto, or its gradients, float64, of its shape."""
    values = np.array(blob.diff if return_diff else blob.data)
    if blob.HasField("shape"):
        return values.reshape(tuple(blob.shape.dim))
    return values.reshape(blob.num, blob.channels, blob.height, blob.width)


def array_to_blobproto(arr: Array, diff: Array | None = None) -> Any:
    """A BlobProto of an array, and of gradients of the same shape."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[Array]) -> bytes:
    """A BlobProtoVector's bytes."""
    vector = caffe_pb2.BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist])
    data: bytes = vector.SerializeToString()
    return data


def blobprotovector_str_to_arraylist(data: bytes) -> list[Array]:
    """The arrays in a BlobProtoVector's bytes."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(data).blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Any:
    """A Datum of an array (channels, height, width): bytes if it is uint8, else floats.

    Raises:
        ValueError: the array has other than three axes.
    """
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> Array:
    """A Datum's values (channels, height, width): uint8, or float64 where it holds floats."""
    if len(datum.data):
        values: Array = np.frombuffer(datum.data, dtype=np.uint8)
    else:
        values = np.array(datum.float_data).astype(float)
    return values.reshape(datum.channels, datum.height, datum.width)


# Images


def load_image(filename: str, color: bool = True) -> Array:
    """Read an image file: 3 channels, or 1 with `color=False`; an alpha channel is dropped.

    Raises:
        OSError: the file is missing, or is no image.
    """
    from PIL import Image

    with Image.open(filename) as image:
        deep = image.mode.startswith(("I", "F"))
        pixels = np.asarray(image if deep else image.convert("RGB"))
        grey = image.mode in ("1", "L", "LA")
    if deep:
        single = (pixels / (1.0 if pixels.dtype.kind == "f" else 65535.0)).astype(np.float32)
        return np.repeat(single[:, :, None], 3 if color else 1, axis=2)
    values = pixels.astype(np.float32) / np.float32(255)
    if color:
        return values
    if grey:
        return values[:, :, :1]
    luminance = np.array([[0.2125], [0.7154], [0.0721]], dtype=np.float32)
    grey_values: Array = np.matmul(values, luminance)
    return grey_values


def resize_image(im: Array, new_dims: ArrayLike, interp_order: int = 1) -> Array:
    """Resize an image (height, width, channels), bilinearly (1) or to the nearest pixel (0).

    With 1 or 3 channels as skimage.transform.resize does: pixels are areas, what is outside has
    the image's least value, and a Gaussian blurs first where it shrinks. With other numbers of
    channels corners fall on corners, as in scipy.ndimage.zoom.

    Raises:
        ValueError: another order.
    """
    if interp_order not in (0, 1):
        raise ValueError(f"interp_order={interp_order}: 0 (nearest) or 1 (bilinear)")
    size = tuple(int(dim) for dim in np.asarray(new_dims))
    low, high = float(im.min()), float(im.max())
    if im.shape[-1] in (1, 3):
        if high <= low:
            return np.full((*size, im.shape[-1]), low, dtype=np.float32)
        rows, columns = (_area_weights(im.shape[i], size[i], interp_order) for i in (0, 1))
        scaled = (im.astype(np.float32) - low) / (high - low)
        scaled = np.einsum("ih,jw,hwc->ijc", rows, columns, scaled, optimize=True)
        back: Array = (scaled * (high - low) + low).astype(np.float32)
        return back
    rows, columns = (_corner_weights(im.shape[i], size[i], interp_order) for i in (0, 1))
    resized: Array = np.einsum("ih,jw,hwc->ijc", rows, columns, im.astype(float), optimize=True)
    return resized.astype(np.float32)


def _area_weights(n: int, m: int, order: int) -> Array:
    """Weights (m, n) of n pixels in m, after a Gaussian of (n/m − 1)/2; zeros are outside."""
    weights = _sample((np.arange(m) + 0.5) * n / m - 0.5, n, order)
    sigma = max(0.0, (n / m - 1) / 2)
    if not sigma:
        return weights
    offsets = np.subtract.outer(np.arange(n), np.arange(n))
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    blur = np.exp(-0.5 * (offsets / sigma) ** 2) * (abs(offsets) <= radius) / kernel.sum()
    blurred: Array = np.matmul(weights, blur)
    return blurred


def _corner_weights(n: int, m: int, order: int) -> Array:
    """Weights (m, n) of n pixels in m, where the first and the last ones coincide."""
    return _sample(np.arange(m) * ((n - 1) / max(m - 1, 1)), n, order)


def _sample(positions: Array, n: int, order: int) -> Array:
    """Weights (positions, n) of interpolation at positions, of which some may be outside."""
    if order == 0:
        positions = np.floor(positions + 0.5)
    distances = abs(np.subtract.outer(positions, np.arange(n)))
    weights: Array = np.maximum(1 - distances, 0)
    return weights


def oversample(images: Sequence[Array], crop_dims: ArrayLike) -> Array:
    """Ten crops of each image, float32: the four corners and the centre, then these mirrored.

    Args:
        images: all of one size.
        crop_dims: height and width of a crop.
    """
    size, crop = np.array(images[0].shape[:2]), np.array(crop_dims, dtype=int)
    corners = [(y, x) for y in (0, size[0] - crop[0]) for x in (0, size[1] - crop[1])]
    centre = (size / 2.0 - crop / 2.0).astype(int)
    crops = []
    for image in images:
        five = [
            image[y : y + crop[0], x : x + crop[1]] for y, x in [*corners, (centre[0], centre[1])]
        ]
        crops += five + [part[:, ::-1] for part in five]
    return np.array(crops, dtype=np.float32)


class Transformer:
    """From images to the values of input blobs and back.

    In this order: resize to the blob, transpose, swap channels, `raw_scale`, subtract the mean,
    `input_scale`.

    Args:
        inputs: the shape (batch, channels, height, width) of each input blob.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, tuple[int, ...]] = {}
        self.channel_swap: dict[str, tuple[int, ...]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def _check(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise Exception(f"{in_} is not one of the net inputs: {self.inputs}")

    def preprocess(self, in_: str, data: Array) -> Array:
        """The values of one item of an input blob, from an image.

        Raises:
            Exception: there is no such input.
        """
        self._check(in_)
        values: Array = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if values.shape[:2] != size:
            values = resize_image(values, size)
        if (order := self.transpose.get(in_)) is not None:
            values = values.transpose(order)
        if (swap := self.channel_swap.get(in_)) is not None:
            values = values[list(swap)]
        values = values * np.float32(self.raw_scale.get(in_, 1))
        if in_ in self.mean:
            values = values - self.mean[in_].astype(np.float32)
        return (values * np.float32(self.input_scale.get(in_, 1))).astype(np.float32, copy=False)

    def deprocess(self, in_: str, data: Array) -> Array:
        """The image of one item of an input blob: `preprocess` backwards, without the size.

        Raises:
            Exception: there is no such input.
        """
        self._check(in_)
        values: Array = data.copy().squeeze()
        values = values / np.float32(self.input_scale.get(in_, 1))
        if in_ in self.mean:
            values = values + self.mean[in_].astype(np.float32)
        values = values / np.float32(self.raw_scale.get(in_, 1))
        if (swap := self.channel_swap.get(in_)) is not None:
            values = values[np.argsort(swap)]
        if (order := self.transpose.get(in_)) is not None:
            values = values.transpose(np.argsort(order))
        return values

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of axes, `(2, 0, 1)` from an image's to a blob's.

        Raises:
            Exception: there is no such input, or it has another number of axes.
        """
        self._check(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception(
                "Transpose order needs to have the same number of dimensions as the input."
            )
        self.transpose[in_] = tuple(order)

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of channels, `(2, 1, 0)` from RGB to BGR.

        Raises:
            Exception: there is no such input, or it has another number of channels.
        """
        self._check(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception(
                "Channel swap needs to have the same number of dimensions as the input channels."
            )
        self.channel_swap[in_] = tuple(order)

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set what an image's values are multiplied by, before the mean is subtracted.

        Raises:
            Exception: there is no such input.
        """
        self._check(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: ArrayLike) -> None:
        """Set the mean: one value a channel, or an image (channels, height, width).

        A mean image of another size is resized.

        Raises:
            Exception: there is no such input.
            ValueError: another number of channels.
        """
        self._check(in_)
        values: Array = np.asarray(mean)
        channels, *size = self.inputs[in_][1:]
        if values.ndim == 1:
            if values.shape[0] != channels:
                raise ValueError("Mean channels incompatible with input.")
            values = values[:, None, None]
        else:
            if values.ndim == 2:
                values = values[None]
            if values.ndim != 3:
                raise ValueError("Mean shape invalid")
            if values.shape[0] != channels:
                raise ValueError("Mean shape incompatible with input shape.")
            if values.shape[1:] != tuple(size):
                values = resize_image(values.transpose(1, 2, 0), size).transpose(2, 0, 1)
        self.mean[in_] = values

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set what the values are multiplied by at the end.

        Raises:
            Exception: there is no such input.
        """
        self._check(in_)
        self.input_scale[in_] = scale
