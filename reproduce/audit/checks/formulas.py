"""Formulas that the text names or cites, against those of Caffe and of the released code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, compared, decided, some


@check
def adam_step_is_the_cited(
    *, gradient: dict[str, Any], delta: float, beta: float, tolerance: float
) -> Finding:
    """Caffe's first step of Adam is Kingma and Ba's, within a relative tolerance.

    Caffe adds ε to the root before its bias is corrected, which makes it 1/√(1 - β₂) as large.
    """
    size = float(gradient["size"])
    caffe = size / (size + delta / math.sqrt(1 - beta))
    cited = size / (size + delta)
    said = (
        f"for a gradient of {size:g} the first step is {caffe:.6f} of the learning rate in Caffe, "
        f"{cited:.6f} in the cited paper."
    )
    return compared(caffe / cited - 1, 1e-6, tolerance, said, {"Caffe": caffe, "cited": cited})


@check
def standardized_alike(*, images: list[list[float]]) -> Finding:
    """Images normalized each by its own mean and deviation, as "global contrast" says, are those of
    the released code (preprocessing.py:33-44): each pixel by its own over all images."""
    some(images, "images")
    pixels = np.array(images, dtype=np.float64)
    each = _standardized(pixels, 1)
    code = _standardized(pixels, 0)
    most = float(np.abs(each - code).max())
    shown = ["/".join(f"{x:+.1f}" for x in row) for row in (each[0], code[0])]
    return decided(
        most < 1e-6,
        f"{len(pixels)} images of {pixels.shape[1]} pixels: the first becomes {shown[0]} each by "
        f"itself, {shown[1]} pixel by pixel.",
        {"largest difference": most},
    )


def _standardized(pixels: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    deviation = np.maximum(pixels.std(axis=axis, keepdims=True), 1e-3)  # the code's floor
    return np.asarray((pixels - pixels.mean(axis=axis, keepdims=True)) / deviation)


@check
def local_contrast_is_a_deviation(*, window: list[float]) -> Finding:
    """The local contrast that the released code divides by (preprocessing.py:25-27, the root of the
    mean of squares) is the deviation from the local mean."""
    some(window, "pixels")
    pixels = np.array(window, dtype=np.float64)
    deviation, code = float(pixels.std()), float(np.sqrt((pixels**2).mean()))
    return decided(
        math.isclose(deviation, code, abs_tol=1e-9),
        f"a window of pixels {'/'.join(f'{x:g}' for x in window)} has the deviation "
        f"{deviation:.2f}; the released code divides by {code:.2f}.",
        {"deviation": deviation, "released code": code},
    )
