"""`caffe-torch export`: a trained model as ONNX and as a PyTorch state_dict, checked.

Each file is written under a temporary name, read back and run on random inputs, and gets its name
only once its predictions are those of this engine.
"""

import importlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe_torch import upgrade
from caffe_torch.blob import Array, Shape
from caffe_torch.export_net import Predictor, predictor, refusal
from caffe_torch.log import info, number
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime

TOLERANCE = 1e-5
SAMPLES = 8
WHERE = "export.py:1"


@dataclass(frozen=True)
class Request:
    """What to export, and where to.

    Attributes:
        model, weights: paths of the net's prototxt and of the caffemodel.
        onnx, state_dict: paths to write; empty for none.
        phase, level, stages: which of the prototxt's layers count.
        shape: dimensions of one image as stored, where the data layer cannot tell.
        transform: whether mean, scale and crop become part of what is exported.
    """

    model: str
    weights: str
    onnx: str
    state_dict: str
    phase: int
    level: int
    stages: list[str]
    shape: Shape | None = None
    transform: bool = True


def parse_shape(text: str) -> Shape | None:
    """`3,32,32` as a tuple; None for the empty text.

    Raises:
        FatalError: it is something else.
    """
    if not text:
        return None
    dims = text.split(",")
    if not all(dim.isascii() and dim.isdigit() and 0 < int(dim) < 2**31 for dim in dims):
        raise refusal(f"--shape {text}: give positive sizes C,H,W, such as 3,32,32")
    return tuple(int(dim) for dim in dims)


def export(request: Request) -> None:
    """Write the files that are asked for, both or none.

    Raises:
        FatalError: an input is missing or wrong, a layer cannot be exported, a file cannot be
            written, a package is missing, or predictions differ by more than 1e-5.
    """
    _check_paths(request.onnx, request.state_dict)
    made = predictor(
        request.model,
        request.phase,
        request.level,
        request.stages,
        request.shape,
        request.transform,
    )
    net = Net(made.param, Runtime.create(0))
    _copy_weights(net, request.weights)
    model = _onnx_model(net, made) if request.onnx else b""
    images = _random_images(net, made)
    expected = _predict(net, made, images)
    with _temporary(request.onnx) as onnx_file, _temporary(request.state_dict) as state_file:
        if onnx_file is not None:
            _write(onnx_file, request.onnx, model)
            found = _run_onnx(onnx_file, made.input, images)
            _compare(expected, found, "onnxruntime", request.onnx)
        if state_file is not None:
            buffer = io.BytesIO()
            torch.save(state_dict(net, made), buffer)
            _write(state_file, request.state_dict, buffer.getvalue())
            found = _predict(net, _load(net, made, state_file), images)
            _compare(expected, found, "PyTorch with the state_dict", request.state_dict)
        for file, path in ((onnx_file, request.onnx), (state_file, request.state_dict)):
            if file is not None:
                file.replace(path)
                info(WHERE, f"Wrote {path}: {_summary(net, made)}")


def _check_paths(onnx: str, state_dict: str) -> None:
    """Refuse before the work what could not be written or checked after it."""
    if not (onnx or state_dict):
        raise refusal("nothing to write: give --onnx FILE, --state_dict FILE, or both")
    for path in filter(None, (onnx, state_dict)):
        if Path(path).is_dir() or not Path(path).parent.is_dir():
            raise refusal(f"cannot write {path}: it is a folder, or in none; give another path")
    if onnx and state_dict and Path(onnx).resolve() == Path(state_dict).resolve():
        raise refusal(f"--onnx and --state_dict are the same file {onnx}: give two names")
    if onnx:
        _package("onnx")
        _package("onnxruntime")


def state_dict(net: Net, made: Predictor) -> dict[str, torch.Tensor]:
    """The net's parameters in PyTorch's layout, by `<layer>.weight` and `<layer>.bias`.

    An inner product's weight is (num_output, K) whatever its `transpose`. Where mean and scale
    are part of the export, they are `<data layer>.mean`, (C, 1, 1) or (C, H, W) after cropping,
    and `<data layer>.scale`, a scalar.
    """
    tensors: dict[str, torch.Tensor] = {}
    if made.pixels is not None:
        if made.pixels.mean is not None:
            tensors[f"{made.source}.mean"] = torch.from_numpy(made.pixels.mean.copy())
        if made.pixels.scale != 1:
            tensors[f"{made.source}.scale"] = torch.tensor(made.pixels.scale)
    for key, tensor in _parameters(net):
        tensors[key] = tensor.detach().clone(memory_format=torch.contiguous_format)
    return tensors


def _parameters(net: Net) -> Iterator[tuple[str, torch.Tensor]]:
    """Keys and views of the net's parameters, in PyTorch's layout."""
    for node in net.nodes:
        for name, blob in zip(("weight", "bias"), node.layer.blobs, strict=False):
            transposed = (
                node.layer.type == "InnerProduct"
                and name == "weight"
                and node.layer.param.inner_product_param.transpose
            )
            yield f"{node.layer.name}.{name}", blob.tensor.t() if transposed else blob.tensor


def _load(net: Net, made: Predictor, path: Path) -> Predictor:
    """Put a file's tensors in place of the net's and the predictor's own."""
    loaded = torch.load(path, weights_only=True)
    with torch.no_grad():
        for key, tensor in _parameters(net):
            tensor.copy_(loaded[key])
    if made.pixels is None:
        return made
    mean, scale = (loaded.get(f"{made.source}.{name}") for name in ("mean", "scale"))
    pixels = replace(
        made.pixels,
        mean=None if mean is None else mean.numpy(),
        scale=1.0 if scale is None else float(scale),
    )
    return replace(made, pixels=pixels)


def _package(name: str) -> Any:
    """An optional package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise refusal(
            f"--onnx needs the package {name}: pip install 'metaqnn-caffe[export]' ({error})"
        ) from None


def _copy_weights(net: Net, path: str) -> None:
    """Copy a caffemodel's weights; unlike for training, none may be left at its filler's."""
    names = [node.layer.name for node in net.nodes if node.layer.blobs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise refusal(f"several layers are named '{repeated[0]}': give each its own name")
    given = {layer.name for layer in upgrade.read_model(path).layer if layer.blobs}
    missing = [name for name in names if name not in given]
    if missing:
        raise refusal(
            f"{path} has no weights for layer '{missing[0]}': give the caffemodel that was trained "
            "with this net"
        )
    net.copy_from(path)
    for key, tensor in _parameters(net):
        if not torch.isfinite(tensor).all():
            raise refusal(f"{path} holds {key} that are not finite: its training diverged")


def _random_images(net: Net, made: Predictor) -> Array:
    """Uniform pixels 0–255 where the data layer has a mean or a scale, else normal values."""
    rng = np.random.default_rng(0)
    pixels = made.pixels
    shape = net.blobs[made.input].shape[1:] if pixels is None else pixels.shape
    if pixels is not None and not pixels.plain:
        return rng.integers(0, 256, (SAMPLES, *shape)).astype(np.float32)
    return rng.normal(size=(SAMPLES, *shape)).astype(np.float32)


def _predict(net: Net, made: Predictor, images: Array) -> Array:
    """This engine's predictions for images as stored."""
    inputs = images if made.pixels is None else made.pixels(images)
    net.blobs[made.input].reshape(*inputs.shape)
    net.blobs[made.input].data[...] = inputs
    net.reshape()
    with torch.no_grad():
        net.forward()
    return net.blobs[made.output].data.copy()


def _run_onnx(file: Path, name: str, images: Array) -> Array:
    runtime = _package("onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {name: images})[0], np.float32)


def _onnx_model(net: Net, made: Predictor) -> bytes:
    from caffe_torch.export_onnx import onnx_model

    part = "part of the model" if made.pixels is not None else "left to the caller"
    notes = {"net": net.name, "transform_param": made.transform, "transform": part}
    model = onnx_model(net, made, notes)
    _package("onnx").checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _summary(net: Net, made: Predictor) -> str:
    shape = net.blobs[made.input].shape[1:] if made.pixels is None else made.pixels.shape
    if made.transform == "none":
        what = "as the first layer gets it"
    elif made.pixels is not None:
        what = f"raw, transform_param ({made.transform}) is part of the file"
    else:
        what = f"transformed by the caller ({made.transform})"
    sizes = "x".join(map(str, ("N", *shape)))
    classes = "x".join(map(str, ("N", *net.blobs[made.output].shape[1:])))
    return f"input {made.input} {sizes}, {what}; output {made.output} {classes}"


def _compare(expected: Array, found: Array, engine: str, path: str) -> None:
    if expected.shape != found.shape:
        raise refusal(f"{path} is not kept: {engine} predicts {found.shape}, not {expected.shape}")
    difference = float(np.abs(expected - found).max())
    told = f"on {SAMPLES} random inputs, {engine} differs from this engine by at most"
    info(WHERE, f"{path}: {told} {number(difference)}")
    if not difference <= TOLERANCE:
        raise refusal(f"{path} is not kept: {told} {number(difference)}, more than {TOLERANCE:g}")


@contextmanager
def _temporary(path: str) -> Iterator[Path | None]:
    """A temporary name beside the path, removed at the end; None for no path."""
    if not path:
        yield None
        return
    file = Path(f"{path}.{os.getpid()}.tmp")
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _write(file: Path, path: str, content: bytes) -> None:
    try:
        with file.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise refusal(f"cannot write {path}: {error.strerror}; give another path") from None
