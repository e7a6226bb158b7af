"""Spatial pyramid pooling: as many values for an image of any size."""

from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import Context, Layer, Shapes, Tensors
from caffe_torch.layers.pooling import Pooling


class SPP(Layer, type="SPP"):
    """spp_param: images of any size pooled to 1, 4, 16, … places, one after the other in a row.

    Top: (N, C · (1 + 4 + …)), and (N, C, 1, 1) where the pyramid has one level. Source: SPPLayer.
    """

    overwritable = True

    def __init__(self, param: Any, context: Context) -> None:
        super().__init__(param, context)
        self._poolings: dict[Shape, list[Pooling]] = {}

    def _levels(self, shape: Shape) -> list[Pooling]:
        """The pooling of each level, from 1 place on."""
        if shape not in self._poolings:
            self._poolings[shape] = self._of_images(shape)
        return self._poolings[shape]

    def _of_images(self, shape: Shape) -> list[Pooling]:
        self.check(
            len(shape) == 4,
            "pooling_layer.cpp:82",
            f"4 == bottom[0]->num_axes() (4 vs. {len(shape)}) Input must have 4 axes, "
            "corresponding to (num, channels, height, width)",
        )
        p = self.param.spp_param
        self.check(p.pyramid_height > 0, "spp_layer.cpp:86", "pyramid_height > 0 (0 vs. 0) give it")
        levels = []
        for level in range(p.pyramid_height):
            param = caffe_pb2.LayerParameter(name=self.name, type="Pooling", top=["level"])
            param.pooling_param.pool = p.pool
            for side, length in zip("hw", shape[2:], strict=True):
                bins = 2**level
                kernel = -(-length // bins)
                pad = (kernel * bins - length + 1) // 2
                for field, value in (("kernel", kernel), ("pad", pad), ("stride", kernel)):
                    setattr(param.pooling_param, f"{field}_{side}", value)
            levels.append(Pooling(param, self.context))
            levels[-1].setup([shape])
        return levels

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        tops = [level.reshape(bottoms)[0] for level in self._levels(bottoms[0])]
        if len(tops) == 1:
            return tops
        return [(bottoms[0][0], sum(count(top[1:]) for top in tops))]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        tops = [level.forward(bottoms)[0] for level in self._levels(tuple(bottoms[0].shape))]
        return tops if len(tops) == 1 else [torch.cat([top.flatten(1) for top in tops], 1)]
