"""Weights and solver states in HDF5, in Caffe's layout.

`.caffemodel.h5`: `/data/<layer>/<i>`, one float32 dataset per parameter blob that the layer owns,
and, with differences, `/diff/<layer>/<i>` for every blob. `.solverstate.h5`: `/iter`,
`/learned_net`, `/current_step`, `/history/<i>`. Sources: Net::ToHDF5, Net::
CopyTrainedLayersFromHDF5, SGDSolver::SnapshotSolverStateToHDF5, hdf5.cpp.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from caffe_torch.blob import Array, Shape, shape_string
from caffe_torch.files import write_whole
from caffe_torch.log import FatalError, info

if TYPE_CHECKING:
    from caffe_torch.net_weights import NetWeights

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError)
_told: set[str] = set()


def is_hdf5(path: str) -> bool:
    """Whether a file is HDF5, by its first bytes; a file that cannot be read is not."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def check_layer_names(net: "NetWeights") -> None:
    """Refuse a net that HDF5 cannot hold: a `/` in a name parts groups.

    Caffe dies of such a name too, but only at the first snapshot.

    Raises:
        FatalError: a layer's name has a slash.
    """
    for node in net.nodes:
        if "/" in node.layer.name:
            raise FatalError(
                "net.cpp:873",
                "Check failed: layer_data_hid >= 0 (-1 vs. 0) Error saving weights: layer "
                f"'{node.layer.name}' has a / in its name, which HDF5 takes for a path; rename "
                "the layer, or set snapshot_format: BINARYPROTO",
            )


# Weights


def save_weights(net: "NetWeights", path: str, write_diff: bool = False) -> None:
    """Write a net's parameters, with their differences if asked; wholly or not at all.

    Raises:
        FatalError: the path cannot be written, or a layer's name has a slash.
    """
    check_layer_names(net)
    learned = {id(item.blob) for item in net.learned}
    with _writing(path, "net.cpp:862", f"Couldn't open {path} to save weights.") as file:
        data = file.create_group("data")
        diff = file.create_group("diff") if write_diff else None
        for node in net.nodes:
            values = data.require_group(node.layer.name)
            gradients = diff.require_group(node.layer.name) if diff is not None else None
            for i, blob in enumerate(node.layer.blobs):
                if id(blob) in learned:  # a shared one is written by the first layer only
                    learned.discard(id(blob))
                    values.create_dataset(str(i), data=blob.data)
                if gradients is not None:
                    gradients.create_dataset(str(i), data=blob.diff)


def load_weights(net: "NetWeights", path: str) -> None:
    """Copy the parameters of an HDF5 model into the layers of the same names.

    Raises:
        FatalError: the file is missing or damaged, or a layer's blobs differ in number or shape.
    """
    owners: dict[int, tuple[str, int]] = {}
    for node in net.nodes:
        for i, blob in enumerate(node.layer.blobs):
            owners.setdefault(id(blob), (node.layer.name, i))
    with _reading(path, "net.cpp:794", f"Couldn't open {path}") as file:
        if "data" not in file:
            raise _failed("net.cpp:796", "data_hid >= 0", f"Error reading weights from {path}")
        for name, group in file["data"].items():
            if name not in net.by_name:
                info("net.cpp:801", f"Ignoring source layer {name}")
                continue
            blobs = net.by_name[name].layer.blobs
            if len(group) > len(blobs):
                raise FatalError(
                    "net.cpp:814",
                    f"Check failed: num_source_params <= target_blobs.size() ({len(group)} vs. "
                    f"{len(blobs)}) Incompatible number of blobs for layer {name}",
                )
            for i, blob in enumerate(blobs):
                if str(i) in group:
                    values = _values(group, str(i), f"layer '{name}' of {path}", blob.shape)
                    with torch.no_grad():
                        blob.tensor.copy_(torch.from_numpy(values))
                elif owners[id(blob)] == (name, i):  # a shared one comes with its owner
                    raise FatalError(
                        "net.cpp:827",
                        f"Incompatible number of blobs for layer {name} (param {i} is not in "
                        f"{path}; rename the layer to learn it from scratch)",
                    )


# Solver states


def save_state(path: str, iteration: int, model: str, step: int, history: list[Array]) -> None:
    """Write a solver state; wholly or not at all.

    Raises:
        FatalError: the path cannot be written.
    """
    message = f"Couldn't open {path} to save solver state."
    with _writing(path, "sgd_solver.cpp:299", message) as file:
        file.create_dataset("iter", data=np.array([iteration], "<i4"))
        _write_string(file, "learned_net", model)
        file.create_dataset("current_step", data=np.array([step], "<i4"))
        group = file.create_group("history")
        for i, values in enumerate(history):
            group.create_dataset(str(i), data=values)


def load_state(path: str) -> tuple[int, str | None, int, list[Array]]:
    """The iteration, the model's path, the step and the history in a solver state.

    Raises:
        FatalError: the file is missing or damaged.
    """
    message = f"Couldn't open solver state file {path}"
    with _reading(path, "sgd_solver.cpp:346", message) as file:
        iteration, step = _integer(file, "iter"), _integer(file, "current_step")
        model = file["learned_net"][()].rstrip(b"\0").decode() if "learned_net" in file else None
        if "history" not in file:
            raise _failed(
                "sgd_solver.cpp:354", "history_hid >= 0", f"Error reading history from {path}"
            )
        group = file["history"]
        history = [_values(group, str(i), f"history of {path}") for i in range(len(group))]
    return iteration, model, step, history


def _write_string(file: Any, name: str, text: str) -> None:
    """A C string with its final zero, which is how Caffe's reader wants it."""
    import h5py

    value = np.array(text.encode() + b"\0")
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(value.itemsize)
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    h5py.h5d.create(file.id, name.encode(), kind, space).write(space, space, value, kind)


def _integer(file: Any, name: str) -> int:
    if name not in file or file[name].size != 1:
        raise _failed("hdf5.cpp:176", "status >= 0", f"Failed to load int dataset with name {name}")
    return int(np.asarray(file[name]).reshape(-1)[0])


# Files


def _values(group: Any, name: str, what: str, shape: Shape | None = None) -> Array:
    """A dataset of numbers, of a given shape if one is given."""
    dataset = group[name]
    kind = {"f": "FLOAT", "i": "INTEGER", "u": "INTEGER"}.get(dataset.dtype.kind)
    if kind is None:
        raise FatalError(
            "hdf5.cpp:41",
            f"Unsupported datatype class: {dataset.dtype} (blob {name} in {what}; give numbers)",
        )
    if kind not in _told:
        _told.add(kind)
        info(f"hdf5.cpp:{33 if kind == 'FLOAT' else 36}", f"Datatype class: H5T_{kind}")
    if shape is not None:
        check_shape(dataset.shape, shape, f"blob {name} in {what}")
    return np.asarray(dataset, np.float32)


def check_shape(source: Shape, target: Shape, what: str) -> None:
    """Refuse an array of another shape.

    Raises:
        FatalError: the shapes differ.
    """
    if source != target:
        raise FatalError(
            "hdf5.cpp:80",
            "Check failed: blob_dims == blob->shape() Cannot load blob from hdf5; shape mismatch. "
            f"Source shape is {shape_string(source)} target shape is {shape_string(target)} "
            f"({what})",
        )


def _failed(where: str, check: str, message: str) -> FatalError:
    return FatalError(where, f"Check failed: {check} (-1 vs. 0) {message}")


@contextmanager
def _reading(path: str, where: str, message: str) -> Iterator[Any]:
    """An open file; what h5py makes of damage becomes one fatal line."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:
        reason = "missing, truncated or not HDF5" if Path(path).exists() else "no such file"
        raise _failed(where, "file_hid >= 0", f"{message} ({reason})") from None
    with file:
        try:
            yield file
        except _DAMAGE as error:
            reason = " ".join(str(error).split())
            raise FatalError(where, f"{path} is damaged: {reason}; give another file") from None


@contextmanager
def _writing(path: str, where: str, message: str) -> Iterator[Any]:
    """A file that gets its name only once it is whole.

    It is made in memory first, since the library does not survive a full disk.
    """
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w", libver="earliest") as made:
        yield made
    try:
        write_whole(path, content.getbuffer())
    except OSError as error:
        raise _failed(where, "file_hid >= 0", f"{message} ({error.strerror})") from None
