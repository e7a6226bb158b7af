"""Old schemas, brought to the present one as Caffe does on reading a file."""

from pathlib import Path
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch import prototext
from caffe_torch.log import FatalError, info, warning

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
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def read_net(path: str) -> Any:
    """The NetParameter of a prototxt file.

    Raises:
        FatalError: the file is missing, malformed, or of the 2013 schema.
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
            f"Failed to upgrade {path}: give the solver's type, and not solver_type too",
        )
    what = "'solver_type' field (enum)"
    _tell(1084, what + "'", path)
    solver.type = _SOLVERS[solver.solver_type]
    solver.ClearField("solver_type")
    _told(1091, f"{what} to 'type' field (string).")
    _note(1093, "'type' field (string) for a solver's type.")


def upgrade_net(net: Any, path: str) -> Any:
    """The net in the present schema: `layers` → `layer`, `input` → Input layer, and the scale,
    mean, crop and mirror of an old layer's data_param → transform_param. Each step is logged.

    Raises:
        FatalError: the net is of the 2013 schema (`layers { layer { … } }`).
    """
    if net.layers:
        _check_v1(net, path)
        if any(_has_transform(layer) for layer in net.layers):
            for layer in net.layers:
                _upgrade_transform(layer)
            _tell(46, "transformation parameters", path)
            _told(49, "data transformation parameters.")
            _note(51, "transform_param messages for transformation fields.")
        _upgrade_v1(net)
        _tell(55, "V1LayerParameter", path)
        _told(63, "V1LayerParameter")
    if net.input:
        _upgrade_input(net, path)
        _tell(69, "input fields", path)
        _told(72, "input fields.")
        _note(74, "input layers and not input fields.")
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


def _check_v1(net: Any, path: str) -> None:
    if net.layer:
        raise FatalError(
            "upgrade_proto.cpp:668",
            f"Input NetParameter {path} to be upgraded already specifies 'layer' fields; use "
            "'layer' or 'layers', not both",
        )
    if any(layer.HasField("layer") for layer in net.layers):
        raise FatalError(
            "upgrade_proto.cpp:28",
            f"{path} is of Caffe's 2013 schema (V0LayerParameter), which this engine does not "
            "read; upgrade it with Caffe's upgrade_net_proto_text or _binary",
        )


def _upgrade_v1(net: Any) -> None:
    for old in net.layers:
        enum = caffe_pb2.V1LayerParameter.LayerType.Name(old.type)
        default = "".join(word.capitalize() for word in enum.split("_"))
        new = net.layer.add(name=old.name, type=_V1_NAMES.get(enum, default))
        for field, value in old.ListFields():
            target = new.DESCRIPTOR.fields_by_name.get(field.name)
            if field.name in ("name", "type", "param") or target is None:
                continue
            if field.is_repeated:
                getattr(new, field.name).extend(value)
            elif field.message_type is not None:
                getattr(new, field.name).CopyFrom(value)
            else:
                setattr(new, field.name, value)
        n = max(len(old.param), len(old.blobs_lr), len(old.weight_decay), len(old.blob_share_mode))
        for i in range(n):
            spec = new.param.add()
            for values, name in (
                (old.param, "name"),
                (old.blobs_lr, "lr_mult"),
                (old.weight_decay, "decay_mult"),
                (old.blob_share_mode, "share_mode"),
            ):
                if i < len(values) and values[i] != "":
                    setattr(spec, name, values[i])
    net.ClearField("layers")


_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")


def _has_transform(layer: Any) -> bool:
    return any(layer.data_param.HasField(name) for name in _TRANSFORM)


def _upgrade_transform(layer: Any) -> None:
    for name in _TRANSFORM:
        if layer.data_param.HasField(name):
            setattr(layer.transform_param, name, getattr(layer.data_param, name))
            layer.data_param.ClearField(name)


def _upgrade_input(net: Any, path: str) -> None:
    names, dims = list(net.input), list(net.input_dim)
    if not net.input_shape and len(dims) != 4 * len(names):
        raise FatalError(
            "upgrade_proto.cpp:966",
            f"{path}: {len(names)} input(s) need 4 input_dim each, or one input_shape each; "
            f"there are {len(dims)} input_dim",
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
