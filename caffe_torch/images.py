"""Images as OpenCV hands them to Caffe: decoded to BGR bytes, made grey, resized."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image  # Pillow is loaded where there is an image: starting is faster

Pixels = NDArray[np.uint8]
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP")


class UnreadableImageError(Exception):
    """The bytes are no image, or not one of eight bits a channel that this engine decodes."""


def decode(data: bytes, color: bool | None = None) -> Pixels:
    """The pixels of an encoded image, (H, W, C) in the order B, G, R.

    Args:
        data: a PNG, JPEG, BMP, PNM, TIFF or WebP file's bytes.
        color: True: three channels; False: one; None: as stored, with an alpha channel last.

    Raises:
        UnreadableImageError: those bytes cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _pixels(image, color)
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many classes
        raise UnreadableImageError(str(error)) from None


def _pixels(image: Image, color: bool | None) -> Pixels:
    from PIL import ImageOps

    kind = image.format
    if color is False and kind == "JPEG":
        image.draft("L", image.size)  # libjpeg's luminance, without a way through RGB
    deep = image.mode.startswith("I;16")
    if color is None and (deep or image.mode in "IF"):
        raise UnreadableImageError("it has more than eight bits a channel")
    turned = image if color is None else ImageOps.exif_transpose(image)
    if deep:
        grey = (np.asarray(turned) >> 8).astype(np.uint8)[:, :, np.newaxis]
    elif turned.mode in ("1", "L"):
        grey = np.asarray(turned.convert("L"))[:, :, np.newaxis]
    elif color is None and turned.mode in ("RGBA", "LA"):
        rgba: Pixels = np.asarray(turned.convert("RGBA"))
        return rgba[:, :, [2, 1, 0, 3]]
    elif color is False and turned.mode == "LA":
        grey = np.asarray(turned)[:, :, :1]
    else:
        rgb = np.asarray(turned.convert("RGB"))
        return _grey(rgb, kind) if color is False else rgb[:, :, ::-1]
    return np.repeat(grey, 3, axis=2) if color else grey


def _grey(rgb: Pixels, kind: str | None) -> Pixels:
    """0.299 R + 0.587 G + 0.114 B in fixed-point numbers: libpng's, cut off, or OpenCV's."""
    if kind == "PNG":
        weights, half, bits = (9797, 19234, 3737), 0, 15
    else:
        weights, half, bits = (4899, 9617, 1868), 1 << 13, 14
    total = rgb.astype(np.int32) @ np.array(weights, np.int32)
    return ((total + half) >> bits).astype(np.uint8)[:, :, np.newaxis]


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Bilinear interpolation of (H, W, C) to (height, width, C), in OpenCV's 11-bit numbers.

    Pixels' centres lie at halves; halving both sides is the mean of four pixels.
    """
    rows, columns, _ = image.shape
    if (rows, columns) == (height, width):
        return image
    x = image.astype(np.int32)
    if (rows, columns) == (2 * height, 2 * width):
        four = x[::2, ::2] + x[::2, 1::2] + x[1::2, ::2] + x[1::2, 1::2]
        return ((four + 2) >> 2).astype(np.uint8)
    left, share = _positions(columns, width)
    outside = (left < 0) | (left >= columns - 1)
    share[outside] = 0
    left = left.clip(0, columns - 1)
    right = (left + 1).clip(0, columns - 1)
    a, b = (part[:, np.newaxis] for part in _fixed(share))
    wide = x[:, left] * a + x[:, right] * b
    top, share = _positions(rows, height)
    a, b = (part[:, np.newaxis, np.newaxis] for part in _fixed(share))
    upper, lower = (wide[index.clip(0, rows - 1)] >> 4 for index in (top, top + 1))
    resized: Pixels = ((((a * upper) >> 16) + ((b * lower) >> 16) + 2) >> 2).astype(np.uint8)
    return resized


def _positions(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each target pixel: the source pixel before its centre, and the way to the next one."""
    centres = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    before = np.floor(centres)
    return before.astype(np.int64), centres - before


def _fixed(share: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The weights of a pixel and the next, in units of 1/2048."""
    one = np.float32(1)
    return (
        np.rint((one - share) * 2048).astype(np.int32),
        np.rint(share * 2048).astype(np.int32),
    )
