"""Caffe's schema of 2013, `layers { layer { … } }`, brought to `layers { … }` of 2014.

Source: V0LayerParameter of caffe.proto, and what real Caffe makes of it.
"""

from collections.abc import Iterator
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch.log import FatalError, error

_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
_MESSAGES = {
    "concat": "concat_param",
    "conv": "convolution_param",
    "data": "data_param",
    "dropout": "dropout_param",
    "hdf5_data": "hdf5_data_param",
    "hdf5_output": "hdf5_output_param",
    "images": "image_data_param",
    "infogain_loss": "infogain_loss_param",
    "innerproduct": "inner_product_param",
    "lrn": "lrn_param",
    "pool": "pooling_param",
    "window_data": "window_data_param",
}
# Old field: its new name, the types that have it, and the line at which Caffe misses it.
_FIELDS = {
    "num_output": ("num_output", ("conv", "innerproduct"), 237),
    "biasterm": ("bias_term", ("conv", "innerproduct"), 249),
    "weight_filler": ("weight_filler", ("conv", "innerproduct"), 261),
    "bias_filler": ("bias_filler", ("conv", "innerproduct"), 273),
    "pad": ("pad", ("conv", "pool"), 283),
    "kernelsize": ("kernel_size", ("conv", "pool"), 295),
    "group": ("group", ("conv",), 304),
    "stride": ("stride", ("conv", "pool"), 316),
    "pool": ("pool", ("pool",), 341),
    "dropout_ratio": ("dropout_ratio", ("dropout",), 350),
    "local_size": ("local_size", ("lrn",), 359),
    "alpha": ("alpha", ("lrn",), 367),
    "beta": ("beta", ("lrn",), 375),
    "k": ("k", ("lrn",), 383),
    "source": ("source", ("data", "hdf5_data", "images", "window_data", "infogain_loss"), 403),
    "batchsize": ("batch_size", ("data", "hdf5_data", "images", "window_data"), 429),
    "rand_skip": ("rand_skip", ("data", "images"), 449),
    "shuffle_images": ("shuffle", ("images",), 458),
    "new_height": ("new_height", ("images",), 467),
    "new_width": ("new_width", ("images",), 476),
    "concat_dim": ("concat_dim", ("concat",), 485),
    "det_fg_threshold": ("fg_threshold", ("window_data",), 494),
    "det_bg_threshold": ("bg_threshold", ("window_data",), 504),
    "det_fg_fraction": ("fg_fraction", ("window_data",), 514),
    "det_context_pad": ("context_pad", ("window_data",), 524),
    "det_crop_mode": ("crop_mode", ("window_data",), 534),
    "hdf5_output_param": ("", ("hdf5_output",), 544),
}
_TRANSFORM = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}
_COMMON = ("name", "blobs", "blobs_lr", "weight_decay")


def is_v0(net: Any) -> bool:
    """Whether any layer is written in the schema of 2013."""
    return any(layer.HasField("layer") for layer in net.layers)


def upgrade(net: Any) -> bool:
    """Rewrite `net.layers` in place; padding layers become their readers' `pad`.

    Returns:
        Whether everything in the net had a place in the new schema; what had none is logged.

    Raises:
        FatalError: an unknown type, a bottom that nobody makes, or padding that nothing can take.
    """
    complete = True
    connections = list(_without_padding(net.layers, net.input))
    del net.layers[:]
    for connection in connections:
        complete &= _upgrade_layer(connection, net.layers.add())
    return complete


def _without_padding(connections: Any, inputs: Any) -> Iterator[Any]:
    """The connections but padding ones, whose readers are given their `pad` and bottom."""
    makers: dict[str, Any] = dict.fromkeys(inputs)
    for connection in connections:
        layer = connection.layer
        changed = caffe_pb2.V1LayerParameter()
        changed.CopyFrom(connection)
        for j, bottom in enumerate(connection.bottom):
            if bottom not in makers:
                raise FatalError(
                    "upgrade_proto.cpp:165",
                    f"Unknown blob input {bottom} to layer {j} (layer '{layer.name}', bottom "
                    f"index {j}: no layer above makes it)",
                )
            padding = makers[bottom]
            if padding is None or padding.layer.type != "padding":  # None: an input of the net
                continue
            _check_padding(connection, padding)
            changed.layer.pad = padding.layer.pad
            changed.bottom[j] = padding.bottom[0]
        if layer.type != "padding":
            yield changed
        makers.update(dict.fromkeys(connection.top, connection))


def _check_padding(reader: Any, padding: Any) -> None:
    layer = reader.layer
    bottoms, before, behind = len(reader.bottom), len(padding.bottom), len(padding.top)
    rules = (
        (
            177,
            layer.type in ("conv", "pool"),
            '(layer_param.type() == "conv") || (layer_param.type() == "pool") '
            f"Padding layer input to non-convolutional / non-pooling layer type {layer.type}",
        ),
        (
            181,
            bottoms == 1,
            f"layer_connection.bottom_size() == 1 ({bottoms} vs. 1) Conv Layer takes a single blob "
            "as input.",
        ),
        (
            183,
            before == 1,
            f"source_layer.bottom_size() == 1 ({before} vs. 1) Padding Layer takes a single blob "
            "as input.",
        ),
        (
            185,
            behind == 1,
            f"source_layer.top_size() == 1 ({behind} vs. 1) Padding Layer produces a single blob "
            "as output.",
        ),
    )
    for line, holds, rule in rules:
        if not holds:
            raise FatalError(
                f"upgrade_proto.cpp:{line}",
                f"Check failed: {rule} (padding layer '{padding.layer.name}', layer "
                f"'{layer.name}')",
            )


def _upgrade_layer(connection: Any, new: Any) -> bool:
    """Fill one layer of 2014; whether all of the old one's fields had a place."""
    new.bottom.extend(connection.bottom)
    new.top.extend(connection.top)
    if not connection.HasField("layer"):
        return True  # as real Caffe: anything but its bottoms and tops is lost
    old = connection.layer
    if old.HasField("name"):
        new.name = old.name
    if old.HasField("type"):
        if old.type not in _TYPES:
            raise FatalError(
                "upgrade_proto.cpp:603",
                f"Unknown layer name: {old.type} (the type of layer '{old.name}'; known: "
                f"{', '.join(_TYPES)}, padding)",
            )
        new.type = caffe_pb2.V1LayerParameter.LayerType.Value(_TYPES[old.type])
    for name in _COMMON[1:]:
        getattr(new, name).extend(getattr(old, name))
    complete = True
    for descriptor, value in old.ListFields():
        name = descriptor.name
        if name in _TRANSFORM:
            setattr(new.transform_param, _TRANSFORM[name], value)
        elif name in _FIELDS:
            complete &= _upgrade_field(old.type, name, value, new)
    return complete


def _upgrade_field(kind: str, name: str, value: Any, new: Any) -> bool:
    target, kinds, line = _FIELDS[name]
    if kind not in kinds:
        shown = "shuffle" if name == "shuffle_images" else name
        where = f"upgrade_proto.cpp:{line}"
        error(where, f"Unknown parameter {shown} for layer type {kind}")
        return False
    message = getattr(new, _MESSAGES[kind])
    if not target:
        message.CopyFrom(value)
        return True
    field = message.DESCRIPTOR.fields_by_name[target]
    if field.is_repeated:
        getattr(message, target).append(value)
    elif field.message_type is not None:
        getattr(message, target).CopyFrom(value)
    else:
        setattr(message, target, value)
    return True
