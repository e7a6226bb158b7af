"""Normalization of images: the paper's steps and the released code's, by name.

The paper names its preprocessing without formulas or constants, and the released code computes
something else under the same names; so each variant is a step of its own (`STEPS`), described in
one line for the manifest. A `Normalization` is a chain of steps. Some work on each image alone;
"mean" and "gcn-released" take statistics of the training set and stream it, batch by batch.

All arithmetic is in float64. Released code: `libs/input_modules/preprocessing.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.moments import Floats, PixelMoments

Raw = NDArray[np.uint8]  # N×C×H×W
Normalized = NDArray[np.float32]  # N×C×H×W
Apply = Callable[[NDArray[Any]], Floats]

RADIUS = 3  # of both local contrast normalizations: windows of 7×7
_PIXELS = (2, 3)
_PART = 64  # images of 3×32×32 pixels, and fewer of larger ones
_GREY_BORDER = ("lcn-released", "whiten")


def gcn(images: Floats) -> Floats:
    """Global contrast normalization: (x − mean) / max(1e-8, std), over all values of an image.

    Goodfellow et al., Deep Learning, equation 12.3, with s = 1 and λ = 0. The paper states no
    constants. pylearn2's `global_contrast_normalize`, which the maxout recipes use, by default
    divides by the Euclidean norm instead of the std (√(C·H·W) times as large; the CIFAR recipe
    then multiplies by 55, which is √3072 rounded down), and by 1 where that norm is below 1e-8.
    """
    return _standardise(images, (1, 2, 3), 1e-8)


def whiten(images: Floats) -> Floats:
    """Standard whitening, per image and channel: (x − mean) / max(std, 1/√(H·W)) (released)."""
    return _standardise(images, _PIXELS, 1 / math.sqrt(images.shape[2] * images.shape[3]))


def _standardise(images: Floats, axes: tuple[int, ...], floor: float) -> Floats:
    """(x − mean) / max(std, floor), mean and population std over `axes` of each image."""
    centred = images - np.mean(images, axis=axes, keepdims=True)
    std = np.sqrt(np.mean(np.square(centred), axis=axes, keepdims=True))
    return np.asarray(centred / np.maximum(std, floor))


def lcn(images: Floats) -> Floats:
    """Local contrast normalization of Jarrett et al. 2009, per image and channel.

    With v = x − blur(x) and the local std s = √blur(v²): v / max(s, mean of s, 1e-4). The blur
    is a Gaussian of 7×7, σ = 2, and takes what lies outside the image for 0; images should
    therefore be centred first, as the maxout recipe for SVHN does with "gcn".

    The paper says "as Lee et al. 2016" and no more. The constants are those of pylearn2's
    `LeCunLCN`, the maxout recipe's. That code differs from Jarrett et al. where it takes
    √blur(x²) for s, of its input and not of v, and its later versions return after the first
    channel, the others left as they were.
    """
    centred = images - _blur(images, 2.0, "constant")
    std = np.sqrt(_blur(np.square(centred), 2.0, "constant"))
    floor = np.maximum(std.mean(axis=_PIXELS, keepdims=True), 1e-4)
    return np.asarray(centred / np.maximum(std, floor))


def lcn_released(images: Floats) -> Floats:
    """The released code's LCN: (x − blur(x)) / max(0.001, √blur(x²)), per image and channel.

    It divides by the local root mean square, not by the local std. The blur is OpenCV's
    GaussianBlur, 7×7, σ = 1, with its default border (BORDER_REFLECT_101: the image mirrored at
    its outermost pixels, which are not repeated).
    """
    centred = images - _blur(images, 1.0, "reflect")
    rms = np.sqrt(_blur(np.square(images), 1.0, "reflect"))
    return np.asarray(centred / np.maximum(rms, 0.001))


def _blur(images: Floats, sigma: float, border: Literal["constant", "reflect"]) -> Floats:
    """Each channel's Gaussian-weighted mean over 7×7 windows; `border` as NumPy's pad names it."""
    height, width = images.shape[2:]
    rows, columns = (_blur_matrix(length, sigma, border) for length in (height, width))
    return np.asarray(rows @ images @ columns.T)


def _blur_matrix(length: int, sigma: float, border: Literal["constant", "reflect"]) -> Floats:
    """The length×length matrix whose product with a column blurs it.

    A few small matrix products per image are several times faster than seven shifted sums per
    axis, and the border is right for images smaller than the window, too.
    """
    weights = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-RADIUS, RADIUS + 1)]
    bordered = np.pad(np.eye(length), ((RADIUS, RADIUS), (0, 0)), border)
    windows = np.lib.stride_tricks.sliding_window_view(bordered, length, axis=0)
    return np.tensordot(np.array(weights) / sum(weights), windows, axes=(0, 0)).T


class _Fitted:
    """The moments of the training images that a step saw, for images of the same shape."""

    def __init__(self, step: str, batches: Iterable[NDArray[Any]]) -> None:
        self.step, self.moments = step, PixelMoments()
        for batch in batches:
            if self.moments.count:
                self.check(batch)
            self.moments.add(batch)
        if not self.moments.count:
            raise DataError(
                f"normalization {step!r} takes statistics of the training images, "
                "and there are none; give at least one"
            )

    def check(self, images: NDArray[Any]) -> None:
        """Raises DataError unless the images have the shape of those before."""
        if images.shape[1:] != self.moments.shape:
            shape, fitted = ("×".join(map(str, s)) for s in (images.shape[1:], self.moments.shape))
            raise DataError(
                f"normalization {self.step!r} was fitted on {fitted} images and cannot take "
                f"{shape} ones; prepare images of one shape together"
            )


def _fit_mean(batches: Iterable[NDArray[Any]]) -> Apply:
    fitted = _Fitted("mean", batches)

    def subtract(images: NDArray[Any]) -> Floats:
        fitted.check(images)
        return np.asarray(images - fitted.moments.mean)

    return subtract


def _fit_gcn_released(batches: Iterable[NDArray[Any]]) -> Apply:
    fitted = _Fitted("gcn-released", batches)
    std = np.maximum(fitted.moments.std, 0.001)

    def standardise(images: NDArray[Any]) -> Floats:
        fitted.check(images)
        return np.asarray((images - fitted.moments.mean) / std)

    return standardise


def _per_image(function: Callable[[Floats], Floats]) -> Callable[[Iterable[NDArray[Any]]], Apply]:
    """The fit of a step that needs no training set: it reads no batch."""

    def fit(_: Iterable[NDArray[Any]]) -> Apply:
        return lambda images: function(np.asarray(images, np.float64))

    return fit


@dataclass(frozen=True)
class Step:
    """One normalization.

    `describe`: its formula, constants and source in one line. `fit`: from the training images,
    in batches N×C×H×W read at most once, to the function that normalizes a batch; raises
    DataError if it needs training images and there are none, or on images of another shape.
    """

    name: str
    describe: str
    fit: Callable[[Iterable[NDArray[Any]]], Apply]


STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step(
            "mean",
            "x − mean image of the training set (paper: global mean subtraction; released: -ms)",
            _fit_mean,
        ),
        Step(
            "gcn",
            "(x − m)/max(1e-8, s), m and s the image's mean and std over all channels and pixels "
            "(Goodfellow et al., Deep Learning, eq. 12.3; the paper's constants are unstated)",
            _per_image(gcn),
        ),
        Step(
            "gcn-released",
            "(x − m)/max(0.001, s), m and s each pixel's mean and population std over the "
            "training set (released: -gcn)",
            _fit_gcn_released,
        ),
        Step(
            "lcn",
            "v/max(s, mean of s, 1e-4), v = x − blur(x), s = √blur(v²), per channel; blur: "
            "Gaussian 7×7, σ 2, zero border (Jarrett et al. 2009, constants of pylearn2; the "
            "paper: as Lee et al. 2016, formula and constants unstated)",
            _per_image(lcn),
        ),
        Step(
            "lcn-released",
            "(x − blur(x))/max(0.001, √blur(x²)), per channel; blur: Gaussian 7×7, σ 1, border "
            "mirrored without its edge (released: -prep lcn)",
            _per_image(lcn_released),
        ),
        Step(
            "whiten",
            "(x − m)/max(s, 1/√(H·W)), m and s the channel's mean and std in the image "
            "(released: -prep standard_whiten)",
            _per_image(whiten),
        ),
    )
}


class Normalization:
    """A chain of steps, applied in the order of their names; no names: pixels as they are.

    Raises DataError on an unknown name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in STEPS]
        if unknown:
            raise DataError(f"unknown normalization {unknown[0]!r}; choose from {', '.join(STEPS)}")
        self.steps = [STEPS[name] for name in names]

    @property
    def description(self) -> list[str]:
        """One line for each step, in order."""
        return [f"{step.name}: {step.describe}" for step in self.steps]

    @property
    def pad_value(self) -> float:
        """What padding holds: 128 around raw pixels, 0 where a step has centred them.

        As the released code (lmdb_creator.py), which pads with 0 after its GCN or the mean's
        subtraction, and with 128 otherwise: after its LCN or whitening alone, too, where all
        other pixels are within a few units of 0. The paper tells no value; its steps centre.
        """
        return 128.0 if all(step.name in _GREY_BORDER for step in self.steps) else 0.0

    def fit(self, batches: Callable[[], Iterable[Raw]]) -> Callable[[Raw], Normalized]:
        """The function that normalizes a batch N×C×H×W, fitted on the training images.

        Each step is fitted on what the steps before it give. `batches()` starts the training
        images again; it is called once for each step that takes statistics, and no more than two
        batches are held at a time. Raises DataError as the steps do.
        """
        fitted: list[Apply] = []

        def through() -> Iterator[Floats]:
            for batch in batches():
                for part in _parts(batch):
                    yield _chain(fitted, part)

        for step in self.steps:
            fitted.append(step.fit(through()))

        def normalize(images: Raw) -> Normalized:
            out = np.empty(images.shape, np.float32)
            for source, target in zip(_parts(images), _parts(out), strict=True):
                target[:] = _chain(fitted, source)
            return out

        return normalize


def _parts(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of few images each: what is computed on the way stays within the processor's cache."""
    size = max(1, min(_PART, _PART * 3 * 32 * 32 // math.prod(images.shape[1:])))
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _chain(fitted: Sequence[Apply], images: Raw) -> Floats:
    values = images.astype(np.float64)
    for apply in fitted:
        values = apply(values)
    return values
