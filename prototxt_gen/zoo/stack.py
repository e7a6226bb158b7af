"""A net under construction: a layer is added after the last, or after the blobs that it names."""

from __future__ import annotations

import prototxt_gen.caffe_pb2 as caffe_pb2


def gaussian(std: float) -> caffe_pb2.FillerParameter:
    """Normal values of mean 0."""
    return caffe_pb2.FillerParameter(type="gaussian", std=std)


XAVIER = caffe_pb2.FillerParameter(type="xavier")
MSRA = caffe_pb2.FillerParameter(type="msra")


class Stack:
    """A net whose layers are added one after another.

    Every method that adds a layer returns the layer's top, which is also `top`, where the next
    layer begins unless it names its bottoms. Layers with weights take `filler` unless told
    another; biases start at 0.
    """

    def __init__(self, net: caffe_pb2.NetParameter, filler: caffe_pb2.FillerParameter) -> None:
        self.net = net
        self.filler = filler
        self.top = "data"

    def add(self, type_: str, name: str, *bottoms: str, in_place: bool = False) -> None:
        """Append a layer of one top, which is its bottom where it works in place."""
        layer = self.net.layer.add(name=name, type=type_, bottom=bottoms or (self.top,))
        self.top = layer.bottom[0] if in_place else name
        layer.top.append(self.top)

    @property
    def last(self) -> caffe_pb2.LayerParameter:
        """The layer that was added last."""
        return self.net.layer[-1]

    def conv(
        self,
        name: str,
        filters: int,
        size: int,
        *bottoms: str,
        stride: int = 1,
        pad: int | None = None,
        bias: float | None = 0,
        shared: bool = False,
    ) -> str:
        """Convolution; padded by ⌊size/2⌋ unless told otherwise.

        `bias` is what the biases start at, None for none. A `shared` layer's weights are those
        of every layer whose name is the same up to its last underscore.
        """
        self.add("Convolution", name, *bottoms)
        param = self.last.convolution_param
        param.num_output, param.kernel_size[:], param.stride[:] = filters, [size], [stride]
        param.pad[:] = [size // 2 if pad is None else pad]
        param.weight_filler.CopyFrom(self.filler)
        if bias is None:
            param.bias_term = False
        else:
            param.bias_filler.type, param.bias_filler.value = "constant", bias
        if shared:
            self.last.param.add(name=f"{name.rpartition('_')[0]}_weights")
        return self.top

    def inner(self, name: str, outputs: int) -> str:
        """InnerProduct, fully connected."""
        self.add("InnerProduct", name)
        param = self.last.inner_product_param
        param.num_output, param.bias_filler.type = outputs, "constant"
        param.weight_filler.CopyFrom(self.filler)
        return self.top

    def activate(self, type_: str = "ReLU") -> str:
        """A nonlinearity, in place."""
        self.add(type_, f"{self.top}_{type_.lower()}", in_place=True)
        return self.top

    def pool(self, name: str, method: str, size: int, stride: int) -> str:
        """Pooling, MAX or AVE; windows that only begin within the image count."""
        self.add("Pooling", name)
        param = self.last.pooling_param
        param.pool = caffe_pb2.PoolingParameter.PoolMethod.Value(method)
        param.kernel_size, param.stride = size, stride
        return self.top

    def pool_all(self, name: str, method: str) -> str:
        """Pooling over the whole image, MAX or AVE: N×C×1×1."""
        self.add("Pooling", name)
        param = self.last.pooling_param
        param.pool = caffe_pb2.PoolingParameter.PoolMethod.Value(method)
        param.global_pooling = True
        return self.top

    def dropout(self, ratio: float) -> str:
        """Dropout of a ratio; its top is its own, since Caffe's ELU reads its output again."""
        self.add("Dropout", f"{self.top}_drop")
        self.last.dropout_param.dropout_ratio = ratio
        return self.top

    def normalize(self, name: str) -> str:
        """Batch normalization with a learned scale and shift: BatchNorm, then Scale in place."""
        self.add("BatchNorm", name)
        for _ in range(3):  # the statistics are not learned
            self.last.param.add(lr_mult=0, decay_mult=0)
        self.add("Scale", f"{name}_scale", in_place=True)
        self.last.scale_param.bias_term = True
        return self.top

    def combine(self, name: str, operation: str, *bottoms: str, coeff: tuple[int, ...] = ()) -> str:
        """Eltwise: PROD, SUM or MAX of blobs of one shape."""
        self.add("Eltwise", name, *bottoms)
        param = self.last.eltwise_param
        param.operation = caffe_pb2.EltwiseParameter.EltwiseOp.Value(operation)
        param.coeff[:] = coeff
        return self.top

    def slices(self, name: str, count: int) -> list[str]:
        """Slice: the top's channels in `count` equal parts."""
        self.add("Slice", name)
        tops = [f"{name}_{i}" for i in range(count)]
        self.last.top[:] = tops
        return tops

    def gate(self, name: str, gate: str, open_: str, closed: str) -> str:
        """gate · open + (1 − gate) · closed, as closed + gate · (open − closed)."""
        self.combine(f"{name}_difference", "SUM", open_, closed, coeff=(1, -1))
        self.combine(f"{name}_gated", "PROD", gate, self.top)
        return self.combine(name, "SUM", closed, self.top)

    def reshape(self, name: str, *dims: int, axes: int) -> str:
        """Reshape the first `axes` axes to `dims`, one of which may be −1."""
        self.add("Reshape", name)
        param = self.last.reshape_param
        param.shape.dim[:], param.num_axes = dims, axes
        return self.top

    def classify(self, loss: str = "SoftmaxWithLoss") -> None:
        """End: `loss` and, in TEST, `accuracy` of the top's scores."""
        scores = self.top
        self.add(loss, "loss", scores, "label")
        self.add("Accuracy", "accuracy", scores, "label")
        self.last.include.add(phase=caffe_pb2.TEST)
