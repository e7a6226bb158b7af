"""Old schemas, brought to the present one as Caffe does on reading a file."""

from pathlib import Path
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch import prototext, upgrade_v0
from caffe_torch.log import FatalError, error, info, warning

_V1_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "ELTWISE": "Eltwise",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "INFOGAIN_LOSS": "InfogainLoss",
    "LRN": "LRN",
    "MVN": "MVN",
    "NONE": "",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def read_net(path: str) -> Any:
    """The NetParameter of a prototxt file.

    Raises:
        FatalError: the file is missing, malformed, or cannot be upgraded.
    """
    net = prototext.read_text(path, caffe_pb2.NetParameter(), "upgrade_proto.cpp:90")
    return upgrade_net(net, path)


def read_model(path: str) -> Any:
    """The NetParameter, with blobs, of a caffemodel file.

    Raises:
        FatalError: the file is missing, damaged, or HDF5.
    """
    try:
        with Path(path).open("rb") as file:
            is_hdf5 = file.read(len(_HDF5)) == _HDF5
    except OSError as error:
        reason = "File not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise FatalError(
            "net.cpp:794",
            f"Check failed: file_hid >= 0 (-1 vs. 0) Couldn't open {path} ({reason}: {path}; give "
            "a readable .caffemodel)",
        ) from None
    if is_hdf5:
        raise FatalError(
            "net.cpp:770",
            f"{path} is an HDF5 model: this engine reads BINARYPROTO .caffemodel files; save the "
            "weights in that format",
        )
    net = prototext.read_binary(path, caffe_pb2.NetParameter(), "upgrade_proto.cpp:97")
    return upgrade_net(net, path)


def read_solver(path: str) -> Any:
    """The SolverParameter of a prototxt file.

    `type` stands for an old `solver_type`; a missing snapshot_prefix becomes the file's own path
    without extension, and one that is a folder gets the file's name appended.

    Raises:
        FatalError: the file is missing or malformed, or gives both types.
    """
    solver = prototext.read_text(path, caffe_pb2.SolverParameter(), "upgrade_proto.cpp:1121")
    if solver.HasField("solver_type"):
        _upgrade_solver_type(solver, path)
    stem = path.rpartition(".")[0] or path
    if not solver.HasField("snapshot_prefix"):
        solver.snapshot_prefix = stem
        info(
            "upgrade_proto.cpp:1108",
            f"snapshot_prefix was not specified and is set to {solver.snapshot_prefix}",
        )
    elif Path(solver.snapshot_prefix).is_dir():
        solver.snapshot_prefix = f"{solver.snapshot_prefix.rstrip('/')}/{Path(stem).name}"
        info(
            "upgrade_proto.cpp:1113",
            f"snapshot_prefix was a directory and is replaced to {solver.snapshot_prefix}",
        )
    return solver


def _upgrade_solver_type(solver: Any, path: str) -> None:
    if solver.HasField("type"):
        raise FatalError(
            "upgrade_proto.cpp:1043",
            "Check failed: !solver_param->has_solver_type() || !solver_param->has_type() "
            "Failed to upgrade solver: old solver_type field (enum) and new type field (string) "
            f"cannot be both specified in solver proto text. ({path}: remove solver_type)",
        )
    what = "'solver_type' field (enum)"
    _tell(1084, what + "'", path)
    solver.type = _SOLVERS[solver.solver_type]
    solver.ClearField("solver_type")
    _told(1091, f"{what} to 'type' field (string).")
    _note(1093, "'type' field (string) for a solver's type.")


def upgrade_net(net: Any, path: str) -> Any:
    """The net in the present schema, each step logged as Caffe logs it.

    `layers { layer { … } }` → `layers`; an old data layer's scale, mean, crop and mirror →
    `transform_param`; `layers` → `layer`; `input` → an Input layer; a BatchNorm layer's three
    `param` → rates of 0.

    Raises:
        FatalError: the net mixes schemas, or a layer has no counterpart in the present one.
    """
    if upgrade_v0.is_v0(net):
        _upgrade_v0(net, path)
    if any(_old_transform(layer) for layer in net.layers):
        _tell(46, "transformation parameters", path)
        for layer in net.layers:
            _upgrade_transform(layer)
        _told(49, "data transformation parameters.")
        _note(51, "transform_param messages for transformation fields.")
    if net.layers:
        _tell(55, "V1LayerParameter", path)
        _upgrade_v1(net, path)
        _told(63, "V1LayerParameter")
    if net.input:
        _tell(69, "input fields", path)
        _upgrade_input(net, path)
        _told(72, "input fields.")
        _note(74, "input layers and not input fields.")
    normalizations = [x for x in net.layer if x.type == "BatchNorm" and len(x.param) == 3]
    if normalizations:
        what = "batch norm layers using deprecated params"
        info("upgrade_proto.cpp:79", f"Attempting to upgrade {what}: {path}")
        for layer in normalizations:
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
        info("upgrade_proto.cpp:82", f"Successfully upgraded {what}.")
    return net


def _tell(line: int, what: str, path: str) -> None:
    info(
        f"upgrade_proto.cpp:{line}",
        f"Attempting to upgrade input file specified using deprecated {what}: {path}",
    )


def _told(line: int, what: str) -> None:
    where = f"upgrade_proto.cpp:{line}"
    info(where, f"Successfully upgraded file specified using deprecated {what}")


def _note(line: int, what: str) -> None:
    where = f"upgrade_proto.cpp:{line}"
    warning(where, f"Note that future Caffe releases will only support {what}")


def _upgrade_v0(net: Any, path: str) -> None:
    _tell(28, "V0LayerParameter", path)
    if upgrade_v0.upgrade(net):
        _told(36, "V0LayerParameter")
    else:
        error(
            "upgrade_proto.cpp:33",
            "Warning: had one or more problems upgrading V0NetParameter to NetParameter (see "
            "above); continuing anyway.",
        )
    warning(
        "upgrade_proto.cpp:39",
        "Note that future Caffe releases will not support V0NetParameter; use "
        "./build/tools/upgrade_net_proto_text for prototxt and "
        "./build/tools/upgrade_net_proto_binary for model weights upgrade this and any other net "
        "protos to the new format.",
    )


def _upgrade_v1(net: Any, path: str) -> None:
    if net.layer:
        raise FatalError(
            "upgrade_proto.cpp:671",
            "Refusing to upgrade inconsistent NetParameter input; the definition includes both "
            "'layer' and 'layers' fields. The current format defines 'layer' fields with string "
            "type like layer { type: 'Layer' ... } and not layers { type: LAYER ... }. Manually "
            f"switch the definition to 'layer' format to continue. ({path}: 'layers' first names "
            f"'{net.layers[0].name}')",
        )
    for old in net.layers:
        new = net.layer.add()
        for field, value in old.ListFields():
            target = new.DESCRIPTOR.fields_by_name.get(field.name)
            if field.name == "type":
                new.type = _v1_type(value)
            elif field.name in ("param", "layer") or target is None:
                continue
            elif field.is_repeated:
                getattr(new, field.name).extend(value)
            elif field.message_type is not None:
                getattr(new, field.name).CopyFrom(value)
            else:
                setattr(new, field.name, value)
        for values, name in (
            (old.param, "name"),
            (old.blobs_lr, "lr_mult"),
            (old.weight_decay, "decay_mult"),
            (old.blob_share_mode, "share_mode"),
        ):
            for i, value in enumerate(values):
                setattr(new.param[i] if i < len(new.param) else new.param.add(), name, value)
    net.ClearField("layers")


def _v1_type(value: int) -> str:
    """The name of a layer type of 2014; empty for NONE, which no layer has."""
    name = str(caffe_pb2.V1LayerParameter.LayerType.Name(value))
    default = "".join(word.capitalize() for word in name.split("_"))
    return _V1_NAMES.get(name, default)


_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
_DATA = {
    caffe_pb2.V1LayerParameter.DATA: "data_param",
    caffe_pb2.V1LayerParameter.IMAGE_DATA: "image_data_param",
    caffe_pb2.V1LayerParameter.WINDOW_DATA: "window_data_param",
}


def _old_transform(layer: Any) -> list[str]:
    """The transformations that a data layer of 2014 has in its own message."""
    if layer.type not in _DATA:
        return []
    message = getattr(layer, _DATA[layer.type])
    return [name for name in _TRANSFORM if message.HasField(name)]


def _upgrade_transform(layer: Any) -> None:
    for name in _old_transform(layer):
        message = getattr(layer, _DATA[layer.type])
        setattr(layer.transform_param, name, getattr(message, name))
        message.ClearField(name)


def _upgrade_input(net: Any, path: str) -> None:
    names, dims = list(net.input), list(net.input_dim)
    shapes = len(net.input_shape)
    if shapes != len(names) if shapes else len(dims) != 4 * len(names):
        raise FatalError(
            "upgrade_proto.cpp:966",
            f"{path}: {len(names)} input(s) need 4 input_dim each, or one input_shape each; "
            f"there are {len(dims)} input_dim and {shapes} input_shape",
        )
    layers = list(net.layer)
    del net.layer[:]
    layer = net.layer.add(name="input", type="Input", top=names)
    for i in range(len(names)):
        shape = layer.input_param.shape.add()
        shape.dim.extend(net.input_shape[i].dim if net.input_shape else dims[4 * i : 4 * i + 4])
    net.layer.extend(layers)
    for field in ("input", "input_dim", "input_shape"):
        net.ClearField(field)
