"""Layers that slide a kernel: convolution, its transpose, and the patches it multiplies."""

from typing import ClassVar

import torch
from torch.nn import functional

from caffe_torch.blob import Shape, count, shape_string
from caffe_torch.layers.base import ANY, Layer, Shapes, Tensors

CONVOLVE = (functional.conv1d, functional.conv2d, functional.conv3d)
CONVOLVE_TRANSPOSED = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


class Sliding(Layer):
    """convolution_param's windows over the spatial axes, those behind the channels' `axis`.

    Attributes:
        channel_axis, channels: where the channels are, and how many.
        spatial: the number of spatial axes.
        kernel, stride, pad, dilation: of each spatial axis.
        file, line: where Caffe checks them.
    """

    overwritable = True
    file: ClassVar[str] = "base_conv_layer.cpp"
    line: ClassVar[int] = 27

    def setup(self, bottoms: Shapes) -> None:
        self.channel_axis = self.axis(self.param.convolution_param.axis, len(bottoms[0]))
        self.spatial = len(bottoms[0]) - self.channel_axis - 1
        self.channels = bottoms[0][self.channel_axis]
        self.check(
            self.spatial <= 3,
            f"{self.file}:{self.line - 4}",
            f"{self.spatial} spatial axes: this engine has {self.type} over at most 3; reshape "
            "the bottom or move the axis",
        )
        self.kernel = self._sizes("kernel_size", None, self.line)
        self._check_positive("kernel", self.kernel, self.line + 18, "Filter")
        self.stride = self._sizes("stride", 1, self.line + 24)
        self._check_positive("stride", self.stride, self.line + 41, "Stride")
        self.pad = self._sizes("pad", 0, self.line + 48)
        self.dilation = self._sizes("dilation", 1, self.line + 63)
        self._check_positive("dilation", self.dilation, self.line + 71, "Dilation")

    def _sizes(self, stem: str, default: int | None, line: int) -> tuple[int, ...]:
        """A field's value for each spatial axis: given once, once per axis, or by `_h` and `_w`."""
        p = self.param.convolution_param
        short = stem.removesuffix("_size")
        values = list(getattr(p, stem))
        h, w = f"{short}_h", f"{short}_w"
        if stem != "dilation" and (p.HasField(h) or p.HasField(w)):
            self.check(
                self.spatial == 2,
                f"{self.file}:{line}",
                f"num_spatial_axes_ == 2 ({self.spatial} vs. 2) {h} & {w} can only be used for 2D "
                "convolution.",
            )
            self.check(
                not values,
                f"{self.file}:{line + 2}",
                f"0 == conv_param.{stem}_size() (0 vs. {len(values)}) Either {stem} or {short}_h/w "
                "should be specified; not both.",
            )
            return getattr(p, h), getattr(p, w)
        given = f"num_{short}_dims"
        optional = "" if default is None else f"{given} == 0 || "
        if default is not None:
            values = values or [default]
        self.check(
            len(values) in (1, self.spatial),
            f"{self.file}:{line + 8}",
            f"{optional}{given} == 1 || {given} == num_spatial_axes_ {stem} must be specified "
            f"once, or once per spatial dimension ({stem} specified {len(values)} times; "
            f"{self.spatial} spatial dims).",
        )
        return tuple(values) if len(values) == self.spatial else (values[0],) * self.spatial

    def _check_positive(self, field: str, values: Shape, line: int, name: str) -> None:
        shape = "kernel_shape" if field == "kernel" else field
        self.check(
            all(value > 0 for value in values),
            f"{self.file}:{line}",
            f"{shape}_data[i] > 0 (0 vs. 0) {name} dimensions must be nonzero.",
        )

    def check_bottoms(self, bottoms: Shapes) -> None:
        """Check that the bottoms have the shape that the parameters were made for, all the same.

        Raises:
            FatalError: they have not.
        """
        first = bottoms[0]
        rank = self.channel_axis + self.spatial + 1
        self.check(
            len(first) == rank,
            f"{self.file}:187",
            f"bottom[0]->num_axes() == first_spatial_axis + num_spatial_axes_ ({len(first)} vs. "
            f"{rank}) bottom num_axes may not change.",
        )
        self.check(
            first[self.channel_axis] == self.channels,
            f"{self.file}:190",
            f"bottom[0]->shape(channel_axis_) == channels_ ({first[self.channel_axis]} vs. "
            f"{self.channels}) Input size incompatible with convolution kernel.",
        )
        for i, shape in enumerate(bottoms[1:], 1):
            self.check(
                shape == first,
                f"{self.file}:195",
                "bottom[0]->shape() == bottom[bottom_id]->shape() shape mismatch - bottom[0]: "
                f"{shape_string(first)} vs. bottom[{i}]: {shape_string(shape)}",
            )

    def windows(self, lengths: Shape) -> Shape:
        """The number of windows along each axis, rounded toward zero before one is added.

        So a kernel that is larger than the padded input by less than a stride has one window.

        Raises:
            FatalError: a kernel is larger still.
        """
        out = tuple(
            int((length + 2 * p - (d * (k - 1) + 1)) / s) + 1
            for length, p, d, k, s in zip(
                lengths, self.pad, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        self._check_size(out, "the kernel is larger than the padded input; make it smaller")
        return out

    def _check_size(self, sizes: Shape, advice: str) -> None:
        for size in sorted(sizes, key=lambda size: size >= 0):  # Caffe names the first below 0
            self.check(size > 0, "blob.cpp:32", f"shape[i] >= 0 ({size} vs. 0) {advice}")

    def missing(self, lengths: Shape) -> Shape:
        """The zeros behind each axis, besides the padding, that complete its only window."""
        return tuple(
            max(0, d * (k - 1) + 1 - length - 2 * p)
            for length, p, d, k in zip(lengths, self.pad, self.dilation, self.kernel, strict=True)
        )

    def complete(self, x: torch.Tensor) -> torch.Tensor:
        """The values, followed by zeros where a window is larger than padded input."""
        missing = self.missing(tuple(x.shape[self.channel_axis + 1 :]))
        if not any(missing):
            return x
        return functional.pad(x, [n for length in reversed(missing) for n in (0, length)])

    def batched(self, x: torch.Tensor) -> torch.Tensor:
        """The axes before the channels' as one."""
        return x if self.channel_axis == 1 else x.reshape(-1, *x.shape[self.channel_axis :])


class Convolution(Sliding, type="Convolution"):
    """convolution_param: cross-correlation of (N, C, H, W) with `num_output` kernels, plus a bias.

    One, two or three spatial axes behind the channels' `axis`; with none it is a product with a
    matrix. Parameters: weights (num_output, C / group, kernel_h, kernel_w), bias (num_output);
    any number of bottoms, each with its top, share them. Sizes round down. Source:
    BaseConvolutionLayer, ConvolutionLayer.
    """

    reduced = True
    bottoms = (1, ANY)
    tops = (1, ANY)

    def check_counts(self) -> None:
        super().check_counts()
        n, m = len(self.param.bottom), len(self.param.top)
        self.check(
            n == m,
            "layer.hpp:379",
            f"bottom.size() == top.size() ({n} vs. {m}) {self.type} Layer produces one top blob as "
            "output for each bottom blob input.",
        )

    def setup(self, bottoms: Shapes) -> None:
        super().setup(bottoms)
        p = self.param.convolution_param
        outputs, group = p.num_output, p.group
        self.check(
            outputs > 0, f"{self.file}:119", f"num_output_ > 0 ({outputs} vs. 0) give num_output"
        )
        self.check(group > 0, f"{self.file}:120", "group_ > 0 (0 vs. 0) correct group, 1 for none")
        self.check(
            self.channels % group == 0,
            f"{self.file}:121",
            f"channels_ % group_ == 0 ({self.channels % group} vs. 0) {self.channels} channels do "
            f"not divide into {group} groups; correct group",
        )
        self.check(
            outputs % group == 0,
            f"{self.file}:122",
            f"num_output_ % group_ == 0 ({outputs % group} vs. 0) Number of output should be "
            "multiples of group.",
        )
        self.add_parameter(self._weight_shape(), p.weight_filler)
        if p.bias_term:
            self.add_parameter((outputs,), p.bias_filler)

    def _weight_shape(self) -> Shape:
        p = self.param.convolution_param
        return (p.num_output, self.channels // p.group, *self.kernel)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.check_bottoms(bottoms)
        before, spatial = bottoms[0][: self.channel_axis], bottoms[0][self.channel_axis + 1 :]
        top = (*before, self.param.convolution_param.num_output, *self.windows(spatial))
        return [top] * len(bottoms)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        weight = self.blobs[0].tensor
        bias = self.blobs[1].tensor if len(self.blobs) > 1 else None
        for x in bottoms:  # a layer in place, or another data set, may have changed them
            channels = x.shape[self.channel_axis]
            self.check(
                channels == self.channels,
                "base_conv_layer.cpp:191",
                f"bottom[0]->shape(channel_axis_) == channels_ ({channels} vs. {self.channels}) "
                "Input size incompatible with convolution kernel.",
            )
        tops = [self._apply(self.batched(self.complete(x)), weight, bias) for x in bottoms]
        if self.channel_axis == 1:
            return tops
        leading = bottoms[0].shape[: self.channel_axis]
        return [top.reshape(*leading, *top.shape[1:]) for top in tops]

    def _apply(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        p = self.param.convolution_param
        if not self.spatial:
            return functional.conv1d(x[..., None], weight[..., None], bias, groups=p.group)[..., 0]
        convolve = CONVOLVE[self.spatial - 1]
        return convolve(x, weight, bias, self.stride, self.pad, self.dilation, p.group)


class Deconvolution(Convolution, type="Deconvolution"):
    """convolution_param: the transpose of a convolution, from its tops' shape to its bottoms'.

    Parameters: weights (C, num_output / group, kernel_h, kernel_w), bias (num_output). Size:
    stride · (h − 1) + dilation · (kernel − 1) + 1 − 2 · pad. Source: DeconvolutionLayer.
    """

    def _weight_shape(self) -> Shape:
        p = self.param.convolution_param
        return (self.channels, p.num_output // p.group, *self.kernel)

    def windows(self, lengths: Shape) -> Shape:
        """The size of the top along each axis."""
        out = tuple(
            s * (length - 1) + d * (k - 1) + 1 - 2 * p
            for length, p, d, k, s in zip(
                lengths, self.pad, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        self._check_size(out, "the padding takes the whole top; pad less")
        return out

    def missing(self, lengths: Shape) -> Shape:
        """Nothing: the windows are the top's."""
        return (0,) * len(lengths)

    def _apply(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        group = self.param.convolution_param.group
        if not self.spatial:
            x, weight = x[..., None], weight[..., None]
            return functional.conv_transpose1d(x, weight, bias, groups=group)[..., 0]
        transposed = CONVOLVE_TRANSPOSED[self.spatial - 1]
        return transposed(x, weight, bias, self.stride, self.pad, 0, group, self.dilation)


class Im2col(Sliding, type="Im2col"):
    """convolution_param: each window's values as the channels of one place.

    Top: (N, C · kernel_h · kernel_w, windows_h, windows_w). Source: Im2colLayer.
    """

    file = "im2col_layer.cpp"
    line = 23

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.check(
            self.spatial in (1, 2),
            "im2col_layer.cpp:19",
            f"{self.spatial} spatial axes: this engine has Im2col over 1 or 2; move the axis",
        )
        self.check_bottoms(bottoms)
        before, spatial = bottoms[0][: self.channel_axis], bottoms[0][self.channel_axis + 1 :]
        patch = self.channels * count(self.kernel)
        return [(*before, patch, *self.windows(spatial))]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        x = bottoms[0]
        kernel, dilation, pad, stride = self.kernel, self.dilation, self.pad, self.stride
        top = self.reshape([tuple(x.shape)])[0]
        images = self.batched(self.complete(x))
        if self.spatial == 1:
            images = images[:, :, None]
            kernel, dilation, pad, stride = (1, *kernel), (1, *dilation), (0, *pad), (1, *stride)
        return [functional.unfold(images, kernel, dilation, pad, stride).reshape(top)]
