"""The net that predicts, cut out of the net that trains: one image blob in, one blob out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch import prototext, upgrade, wiring
from caffe_torch.blob import Array, Shape, proto_shape
from caffe_torch.database import Database
from caffe_torch.log import FatalError, number, warning
from caffe_torch.transform import Transformer


def refusal(message: str) -> FatalError:
    """The fatal error of a model that cannot be exported."""
    return FatalError("export.py:1", message)


@dataclass(frozen=True)
class Pixels:
    """What a data layer does in the TEST phase: x → (centre crop of x − mean) · scale.

    Attributes:
        shape: (C, H, W) of a stored image.
        crop: the side of the centre crop, 0 for none.
        mean: what to subtract after cropping, (C, 1, 1) or (C, crop or H, crop or W); or None.
        scale: the factor.
    """

    shape: Shape
    crop: int = 0
    mean: Array | None = None
    scale: float = 1.0

    @property
    def corner(self) -> tuple[int, int]:
        """Top and left pixel of the crop."""
        return (self.shape[1] - self.crop) // 2, (self.shape[2] - self.crop) // 2

    @property
    def cropped(self) -> Shape:
        """(C, H, W) of what the first layer gets."""
        return (self.shape[0], self.crop, self.crop) if self.crop else self.shape

    @property
    def plain(self) -> bool:
        """Whether values pass unchanged."""
        return self.mean is None and self.scale == 1

    def __call__(self, images: Array) -> Array:
        """(N, C, H, W) as stored → (N, *cropped), in float32, in Caffe's order."""
        x = images
        if self.crop:
            top, left = self.corner
            x = x[:, :, top : top + self.crop, left : left + self.crop]
        if self.mean is not None:
            x = x - self.mean
        return np.ascontiguousarray(x * np.float32(self.scale), dtype=np.float32)


@dataclass(frozen=True)
class Predictor:
    """A net without data layers, losses and scores.

    Attributes:
        param: the NetParameter: an Input layer for one image, the layers that predict, and a
            Softmax in place of a SoftmaxWithLoss.
        input, output: names of blobs.
        source: name of the layer that made the input blob.
        pixels: what that layer did to an image; None where that is left to the caller.
        transform: the same in words, whether or not it is left to the caller.
    """

    param: Any
    input: str
    output: str
    source: str
    pixels: Pixels | None
    transform: str


def predictor(
    model: str, phase: int, level: int, stages: list[str], shape: Shape | None, transform: bool
) -> Predictor:
    """Cut the predicting net out of a prototxt.

    The output is the softmax of the net's SoftmaxWithLoss; in a net without one, the only blob
    that depends on the input and that no layer reads.

    Args:
        model: path of the net's prototxt.
        phase, level, stages: which layers count, as Caffe's rules say.
        shape: dimensions of one stored image (C, H, W); None: those of the data layer's
            database, of its mean file or of the Input layer.
        transform: whether to read what the data layer does to an image (`pixels`); False: that
            is left to the caller, but for the size, which is that after cropping.

    Raises:
        FatalError: a file is missing or wrong, or there is no single input or output.
    """
    net = upgrade.read_net(model)
    net.state.phase = phase
    net.state.level = level
    net.state.stage.extend(stages)
    layers = [layer for layer in wiring.filter_net(net).layer if layer.type != "Accuracy"]
    end, output, axis = _end(layers, model)
    kept = _reaching(layers[:end], output)
    source = _source(kept, model)
    pixels = _pixels(source, shape, transform)
    dims = (shape or _input_shape(source)) if pixels is None else pixels.cropped
    param = caffe_pb2.NetParameter(name=net.name)
    param.state.phase = caffe_pb2.TEST
    blob = param.layer.add(name=source.name, type="Input", top=[source.top[0]])
    blob.input_param.shape.add(dim=(1, *dims))
    for layer in kept:
        if layer is not source:
            copy = param.layer.add()
            copy.CopyFrom(layer)
            for rules in ("include", "exclude", "phase", "loss_weight"):
                copy.ClearField(rules)
    if axis is not None:
        used = {name for layer in param.layer for name in (layer.name, *layer.top)}
        scores, output = output, "prob"
        while output in used:
            output += "_"
        softmax = param.layer.add(name=output, type="Softmax", bottom=[scores], top=[output])
        softmax.softmax_param.axis = axis
    if output == source.top[0]:
        raise refusal(
            f"{model} writes its prediction over its input blob '{output}': give the last layer a "
            "top of its own"
        )
    words = _words(source.transform_param)
    return Predictor(
        param, source.top[0], output, source.name, pixels if transform else None, words
    )


def _end(layers: list[Any], model: str) -> tuple[int, str, int | None]:
    """Where predicting ends: number of layers, the last blob, the axis of a softmax to append."""
    losses = [i for i, layer in enumerate(layers) if layer.type == "SoftmaxWithLoss"]
    if len(losses) > 1:
        names = ", ".join(f"'{layers[i].name}'" for i in losses)
        raise refusal(
            f"{model} has {len(losses)} SoftmaxWithLoss layers ({names}): its prediction is not "
            "one blob; leave one in the phase that is exported"
        )
    if losses:
        loss = layers[losses[0]]
        if not loss.bottom:
            raise refusal(f"layer '{loss.name}' of {model} has no bottom: name the scores")
        return losses[0], loss.bottom[0], loss.softmax_param.axis
    unread: dict[str, None] = {}
    for layer in layers:
        for name in layer.bottom:
            unread.pop(name, None)
        if layer.bottom:
            unread.update(dict.fromkeys(layer.top))
    if len(unread) != 1:
        found = ", ".join(f"'{name}'" for name in unread) or "none"
        raise refusal(
            f"{model} has no SoftmaxWithLoss, and not one output blob (found: {found}); give it "
            "a Softmax layer behind the scores and take the other outputs out"
        )
    return len(layers), next(iter(unread)), None


def _reaching(layers: list[Any], output: str) -> list[Any]:
    """The layers that the output depends on, in order."""
    wanted, kept = {output}, []
    for layer in reversed(layers):
        if wanted.intersection(layer.top):
            wanted = wanted.difference(layer.top).union(layer.bottom)
            kept.append(layer)
    if wanted:
        raise refusal(f"no layer makes the blob '{min(wanted)}' that the prediction depends on")
    return kept[::-1]


def _source(kept: list[Any], model: str) -> Any:
    """The one layer without bottoms, which must be read through its first top alone."""
    read = {name for layer in kept for name in layer.bottom}
    sources = [(layer, top) for layer in kept if not layer.bottom for top in layer.top]
    used = [(layer, top) for layer, top in sources if top in read]
    if len(used) != 1 or used[0][1] != used[0][0].top[0]:
        names = ", ".join(f"'{top}'" for _, top in used) or "none"
        raise refusal(
            f"the prediction of {model} must depend on one input blob, the first top of its "
            f"layer, and depends on: {names}"
        )
    return used[0][0]


def _input_shape(source: Any) -> Shape:
    shapes = source.input_param.shape
    if not shapes or len(shapes[0].dim) < 2:
        raise refusal(
            f"layer '{source.name}' does not tell the size of an image: give --shape C,H,W"
        )
    return tuple(shapes[0].dim[1:])


def _pixels(source: Any, shape: Shape | None, transform: bool) -> Pixels | None:
    """What a data layer does to an image, or its size alone; None for an Input layer."""
    if source.type == "Input":
        return None
    shape = shape or _stored_shape(source)
    if len(shape) != 3:
        raise refusal(f"--shape {','.join(map(str, shape))}: an image has three, C,H,W")
    param = source.transform_param
    if param.crop_size > min(shape[1:]):
        raise refusal(
            f"layer '{source.name}' crops to {param.crop_size}×{param.crop_size}, but an image is "
            f"{shape[1]}×{shape[2]}; give its true size with --shape"
        )
    if param.mirror:
        warning("export.py:1", f"layer '{source.name}' mirrors at random; the export never does")
    crop = 0 if shape[1:] == (param.crop_size,) * 2 else int(param.crop_size)
    if not transform:
        return Pixels(shape, crop)
    # Affine: without scale and flips, zeros become minus the mean, cropped.
    affine = caffe_pb2.TransformationParameter()
    affine.CopyFrom(param)
    affine.scale, affine.mirror = 1.0, False
    transformer = Transformer(affine, shape, False, np.random.default_rng(0), source.name)
    mean = 0 - transformer(np.zeros((1, *shape), np.float32))[0]
    if (mean == mean[:, :1, :1]).all():
        mean = mean[:, :1, :1]
    return Pixels(shape, crop, mean if mean.any() else None, float(param.scale))


def _words(param: Any) -> str:
    """A transform_param as `crop_size 24, mean_file mean.binaryproto, scale 0.00390625`."""
    parts = [f"crop_size {param.crop_size}"] if param.crop_size else []
    if param.mean_file:
        parts.append(f"mean_file {Path(param.mean_file).name}")
    parts += [f"mean_value {number(value)}" for value in param.mean_value]
    if param.scale != 1:
        parts.append(f"scale {param.scale:.9g}")
    return ", ".join(parts) or "none"


def _stored_shape(source: Any) -> Shape:
    """(C, H, W) of a data layer's images, from its database or its mean file."""
    reason = f"layer '{source.name}' of type {source.type} does not tell the size of its images"
    if source.type == "Data":
        try:
            return Database(source.data_param.source, source.name).first_shape()
        except FatalError as error:
            reason = error.message
    if source.transform_param.mean_file:
        path = source.transform_param.mean_file
        proto = prototext.read_binary(path, caffe_pb2.BlobProto(), "data_transformer.cpp:22")
        return proto_shape(proto)[-3:]
    raise refusal(f"the size of an image is not known: give --shape C,H,W ({reason})")
