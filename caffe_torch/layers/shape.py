"""Layers that give a blob's values another shape, or a part of them."""

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch.blob import Shape, count, shape_string
from caffe_torch.layers.base import Layer, Shapes, Tensors


class Reshaping(Layer):
    """The same values in another shape, in a top of its own."""

    file = ""

    def setup(self, bottoms: Shapes) -> None:
        self.check(
            self.param.top[0] != self.param.bottom[0],
            f"{self.file}:10",
            f"top[0] != bottom[0] {self.type} Layer does not allow in-place computation.",
        )

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [bottoms[0].reshape(self.reshape([tuple(bottoms[0].shape)])[0])]


class Flatten(Reshaping, type="Flatten"):
    """flatten_param: the axes `axis` to `end_axis` become one. Source: FlattenLayer."""

    reduced = True

    file = "flatten_layer.cpp"

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        p, shape = self.param.flatten_param, bottoms[0]
        start, end = self.axis(p.axis, len(shape)), self.axis(p.end_axis, len(shape))
        self.check(
            start <= end + 1,
            "blob.hpp:86",
            f"start_axis <= end_axis ({start} vs. {end + 1}) swap axis and end_axis",
        )
        return [(*shape[:start], count(shape[start : end + 1]), *shape[end + 1 :])]


class Reshape(Reshaping, type="Reshape"):
    """reshape_param: `num_axes` axes (−1: all) from `axis` on become those of `shape`.

    A dimension 0 is the bottom's at that place, one −1 is what the count asks for. A negative
    `axis` counts the places between axes, −1 is behind the last. Source: ReshapeLayer.
    """

    reduced = True

    file = "reshape_layer.cpp"

    def _span(self, rank: int) -> tuple[int, int]:
        """The axes that are replaced: from, and up to but not including."""
        p = self.param.reshape_param
        start = p.axis if p.axis >= 0 else rank + p.axis + 1
        self.check(
            start >= 0,
            "reshape_layer.cpp:37",
            f"start_axis >= 0 ({start} vs. 0) axis {p.axis} out of range",
        )
        self.check(
            start <= rank,
            "reshape_layer.cpp:38",
            f"start_axis <= bottom[0]->num_axes() ({start} vs. {rank}) axis {p.axis} out of range "
            f"for {rank}-D input blob",
        )
        self.check(
            p.num_axes >= -1,
            "reshape_layer.cpp:41",
            f"num_axes >= -1 ({p.num_axes} vs. -1) num_axes must be >= 0, or -1 for all",
        )
        end = rank if p.num_axes == -1 else start + p.num_axes
        self.check(
            end <= rank,
            "reshape_layer.cpp:44",
            f"end_axis <= bottom[0]->num_axes() ({end} vs. {rank}) end_axis = axis + num_axes is "
            "out of range",
        )
        return start, end

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        shape = bottoms[0]
        dims = list(self.param.reshape_param.shape.dim)
        self.check(
            dims.count(-1) <= 1,
            "reshape_layer.cpp:22",
            f"inferred_axis_ == -1 ({dims.index(-1) if -1 in dims else -1} vs. -1) new shape "
            "contains multiple -1 dims; at most a single (1) value of -1 may be specified",
        )
        start, end = self._span(len(shape))
        for i, dim in enumerate(dims):
            if dim == 0:
                self.check(
                    start + i < len(shape),
                    "reshape_layer.cpp:64",
                    f"bottom[0]->num_axes() > start_axis + copy_axis_index ({len(shape)} vs. "
                    f"{start + i}) new shape contains a 0, but there was no corresponding bottom "
                    "axis to copy",
                )
                dims[i] = shape[start + i]
            self.check(
                dim >= -1, "blob.cpp:32", f"shape[i] >= 0 ({dim} vs. 0) correct the dimension"
            )
        kept = count(shape[:start]) * count(shape[end:])
        if -1 in dims:
            inferred = dims.index(-1)
            others = kept * count([dim for dim in dims if dim != -1])
            self.check(
                others > 0 and count(shape) % others == 0,
                "reshape_layer.cpp:80",
                f"0 == bottom[0]->count() % explicit_count (0 vs. {count(shape) % (others or 1)}) "
                f"bottom count ({count(shape)}) must be divisible by the product of the specified "
                f"dimensions ({others})",
            )
            dims[inferred] = count(shape) // others
        top = (*shape[:start], *dims, *shape[end:])
        self.check(
            count(top) == count(shape),
            "reshape_layer.cpp:87",
            f"top[0]->count() == bottom[0]->count() ({count(top)} vs. {count(shape)}) output count "
            f"must match input count: {shape_string(top)} vs. {shape_string(shape)}",
        )
        return [top]


class Crop(Layer, type="Crop"):
    """crop_param: a part of the first bottom, of the second's size from `axis` on.

    It starts at `offset`: one for all those axes, or one each, 0 by default. No gradient passes
    to the second bottom. Source: CropLayer.
    """

    reduced = True
    bottoms = (2, 2)

    def _starts(self, shape: Shape) -> list[int]:
        """The first place of each axis of the part."""
        axis = self.axis(self.param.crop_param.axis, len(shape))
        offsets = list(self.param.crop_param.offset)
        self.check(
            len(offsets) <= 1 or axis + len(offsets) == len(shape),
            "crop_layer.cpp:29",
            f"start_axis + param.offset_size() == input_dim ({axis + len(offsets)} vs. "
            f"{len(shape)}) number of offset values specified must be equal to the number of "
            "dimensions following axis.",
        )
        cropped = len(shape) - axis
        return [0] * axis + (offsets if len(offsets) == cropped else (offsets or [0]) * cropped)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        shape, like = bottoms
        axis = self.axis(self.param.crop_param.axis, len(shape))
        starts = self._starts(shape)
        top = list(shape)
        for i in range(axis, len(shape)):
            top[i] = like[self.axis(i, len(like))]
            self.check(
                shape[i] - starts[i] >= top[i],
                "crop_layer.cpp:63",
                f"bottom[0]->shape(i) - crop_offset >= bottom[1]->shape(i) ({shape[i] - starts[i]} "
                f"vs. {top[i]}) the crop for dimension {i} is out-of-bounds with size {top[i]} and "
                f"offset {starts[i]}",
            )
        return [tuple(top)]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        y = bottoms[0]
        size = self.reshape([tuple(x.shape) for x in bottoms])[0]
        starts = self._starts(tuple(y.shape))
        for axis, (start, length) in enumerate(zip(starts, size, strict=True)):
            y = y.narrow(axis, start, length)
        return [y]


class Tile(Layer, type="Tile"):
    """tile_param: the bottom `tiles` times, one after the other along `axis`. Source: TileLayer."""

    overwritable = True

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        p, shape = self.param.tile_param, bottoms[0]
        self.check(
            p.HasField("tiles"),
            "tile_layer.cpp:13",
            "tile_param.has_tiles() Number of tiles must be specified",
        )
        self.check(
            p.tiles > 0,
            "tile_layer.cpp:15",
            f"tiles_ > 0 ({p.tiles} vs. 0) Number of tiles must be positive.",
        )
        axis = self.axis(p.axis, len(shape))
        return [(*shape[:axis], shape[axis] * p.tiles, *shape[axis + 1 :])]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.tile_param
        return [torch.cat([bottoms[0]] * p.tiles, p.axis)]


class ParameterLayer(Layer, type="Parameter"):
    """parameter_param: a learned blob of `shape`, at first 0, as a top. Source: ParameterLayer."""

    bottoms = (0, 0)

    def setup(self, bottoms: Shapes) -> None:
        shape = tuple(self.param.parameter_param.shape.dim)
        self.add_parameter(shape, caffe_pb2.FillerParameter())

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return [self.blobs[0].shape]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [self.blobs[0].tensor.view_as(self.blobs[0].tensor)]
