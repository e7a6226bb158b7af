"""Net prototxts that the user names: read and checked; their data layers make room for ours.

A file's layers are trained as they are. Replaced are its data layers, whose paths do not exist
here, and its Accuracy layers: the pipeline needs one accuracy and one loss in TEST, and no other
output there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import Message

from prototxt_gen.net import Activation, DataSource, add_data
from prototxt_gen.notation import Architecture
from prototxt_gen.read import ReadError, read_net
from prototxt_gen.shapes import GapForm, Padding
from reproduce.paper import PublishedNet

FILE = "file/"
"""What the id of a net begins with that is known from its file alone."""

_LOSS, _ACCURACY = "SoftmaxWithLoss", "accuracy"
_DATA = frozenset(
    {"Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData", "WindowData"}
)

M = TypeVar("M", bound=Message)


class PublishedFileError(ValueError):
    """A net or solver file cannot be trained; one line names the file and what is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True)
class NetFromFile:
    """A net as its file has it.

    Attributes:
        name, sha256: of the file.
        prototxt: its layers with a loss and, in TEST, an accuracy; without data layers.
        architecture: the same in the paper's notation, dropout left out.
        padding: of its convolutions; SAME also where they differ.
        gap: whether an inner product follows its global average pooling.
        batch: images of a training batch, None where no data layer says it.
    """

    name: str
    sha256: str
    prototxt: str
    architecture: Architecture
    padding: Padding
    activation: Activation
    gap: GapForm
    batch: int | None


def read_text(path: Path, message: M) -> tuple[bytes, M]:
    """The bytes of a prototxt file, and the message that they say.

    Raises:
        PublishedFileError: naming file, line and column.
    """
    try:
        raw = path.read_bytes()
        return raw, text_format.Parse(raw.decode("utf-8"), message)
    except OSError as error:
        raise PublishedFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PublishedFileError(f"{path}: it is no text (UTF-8)") from None
    except text_format.ParseError as error:
        reason = str(error).replace(f"{caffe_pb2.DESCRIPTOR.package}.", "")
        place = "" if error.GetLine() is None else f":{error.GetLine()}:{error.GetColumn() or 1}"
        reason = re.sub(r"^\d+:\d+ : ", "", reason)
        raise PublishedFileError(f"{path}{place}: {reason}") from None


def read_net_file(path: Path) -> NetFromFile:
    """Read a classification net of the paper's notation from its prototxt.

    Raises:
        PublishedFileError: if it is unreadable, of Caffe's old format, or cannot be trained: no
            SoftmaxWithLoss, a blob that no layer makes or takes, a layer without notation.
    """
    raw, net = read_text(path, caffe_pb2.NetParameter())
    try:
        batch = next(
            (x.data_param.batch_size for x in net.layer if x.type == "Data" and _in_training(x)), 0
        )
        kept = _kept(net)
        text = str(text_format.MessageToString(kept))
        architecture = read_net(text).without_dropout()
    except (PublishedFileError, ReadError) as error:
        raise PublishedFileError(f"{path}: {error}") from None
    types = [layer.type for layer in kept.layer]
    weighted = [type_ for type_ in types if type_ in ("Convolution", "InnerProduct")]
    return NetFromFile(
        name=path.name,
        sha256=hashlib.sha256(raw).hexdigest(),
        prototxt=text,
        architecture=architecture,
        padding=_padding(kept),
        activation=Activation.ELU if "ELU" in types else Activation.RELU,
        gap=GapForm.RELEASED if weighted[-1] == "InnerProduct" else GapForm.PAPER,
        batch=batch or None,
    )


def net_of_file(id_: str, name: str, sha256: str, prototxt: str) -> PublishedNet:
    """What is known of a net that is none of the authors': no published error.

    Raises:
        ReadError: if `prototxt` is none that `read_net_file` made.
    """
    place = f"{name} (SHA-256 {sha256[:12]}…)"
    return PublishedNet(id_, place, str(read_net(prototxt).without_dropout()), None, None)


def with_data(prototxt: str, source: DataSource) -> str:
    """A net that `read_net_file` has read, with Data layers of ours."""
    kept = text_format.Parse(prototxt, caffe_pb2.NetParameter())
    _, label = next(layer.bottom for layer in kept.layer if layer.type == _LOSS)
    net = caffe_pb2.NetParameter()
    net.CopyFrom(kept)
    net.ClearField("layer")
    for phase in ("TRAIN", "TEST"):
        add_data(net, source, phase, (kept.layer[0].bottom[0], label))
    net.layer.extend(kept.layer)
    return str(text_format.MessageToString(net))


def _in_training(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether a layer's rules let it into TRAIN; what else they ask for is left to Caffe."""

    def meets(rules: Iterable[caffe_pb2.NetStateRule]) -> bool:
        return any(not rule.HasField("phase") or rule.phase == caffe_pb2.TRAIN for rule in rules)

    return meets(layer.include) if layer.include else not meets(layer.exclude)


def _kept(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The layers from the image to the loss, then our accuracy."""
    if net.layers:
        raise PublishedFileError(
            "it is of Caffe's old format (`layers`); convert it with upgrade_net_proto_text"
        )
    given = set(net.input)
    layers = []
    for layer in net.layer:
        if layer.type in _DATA:
            given |= set(layer.top)
        elif layer.type != "Accuracy":
            layers.append(layer)
    taken = {bottom for layer in layers for bottom in layer.bottom}
    layers = [layer for layer in layers if layer.type != "Softmax" or taken & set(layer.top)]
    scores, label = _scored(layers)
    _check_chain(layers, given, label)

    kept = caffe_pb2.NetParameter()
    kept.CopyFrom(net)
    for field in ("layer", "input", "input_shape", "input_dim"):
        kept.ClearField(field)
    for layer in layers:
        copy = kept.layer.add()
        copy.CopyFrom(layer)
        if layer.type == _LOSS:
            copy.ClearField("include")  # TEST shall print it too
            copy.ClearField("exclude")
    accuracy = kept.layer.add(name=_ACCURACY, type="Accuracy", bottom=(scores, label))
    accuracy.top.append(_ACCURACY)
    accuracy.include.add(phase=caffe_pb2.TEST)
    return kept


def _scored(layers: list[caffe_pb2.LayerParameter]) -> tuple[str, str]:
    """The blobs of the scores and of the labels: what the one loss takes."""
    losses = [layer for layer in layers if layer.type.endswith("Loss")]
    if not losses:
        raise PublishedFileError(f"it has no loss; training needs a {_LOSS}")
    for loss in losses:
        if loss.type != _LOSS:
            raise PublishedFileError(
                f"layer {loss.name}: its loss is {loss.type}; only {_LOSS} trains a classifier here"
            )
        if len(loss.bottom) != 2 or len(loss.top) > 1:
            raise PublishedFileError(
                f"layer {loss.name}: it must take scores and labels, and make one loss"
            )
    if len(losses) > 1:
        names = ", ".join(loss.name for loss in losses)
        raise PublishedFileError(f"it has {len(losses)} losses ({names}); only one is trained here")
    if not _in_training(losses[0]):
        raise PublishedFileError(f"layer {losses[0].name}: the loss is not in TRAIN")
    scores, label = losses[0].bottom
    return scores, label


def _check_chain(layers: list[caffe_pb2.LayerParameter], given: set[str], label: str) -> None:
    """Find that the layers are one chain, from one of the blobs `given` by the data to the loss."""
    top, ended = "", False
    for layer in layers:
        where, bottom = f"layer {layer.name}", layer.bottom[0] if layer.bottom else ""
        if ended:
            raise PublishedFileError(f"{where}: it comes after the loss")
        ended = layer.type == _LOSS
        if not ended and (layer.include or layer.exclude):
            raise PublishedFileError(f"{where}: it must be in TRAIN and in TEST, without rules")
        if not ended and (len(layer.bottom) != 1 or len(layer.top) != 1):
            raise PublishedFileError(f"{where}: a layer of a chain takes one blob and makes one")
        if ended and not top:
            raise PublishedFileError(f"{where}: there is no layer between the data and the loss")
        if top and bottom != top:
            raise PublishedFileError(
                f"{where}: it takes the blob {bottom!r}, not {top!r}, which the layer before makes"
            )
        for blob in (label,) if ended else () if top else (bottom,):
            if given and blob not in given:
                raise PublishedFileError(
                    f"{where}: it takes the blob {blob!r}, which no data layer makes"
                )
        if not ended:
            top = layer.top[0]
            if label in (top, bottom) or top == _ACCURACY:
                raise PublishedFileError(f"{where}: its blob {top!r} is also another's")


def _padding(net: caffe_pb2.NetParameter) -> Padding:
    convolutions = [x.convolution_param for x in net.layer if x.type == "Convolution"]
    wide = any(size > 1 for x in convolutions for size in (*x.kernel_size, x.kernel_h))
    padded = any(pad for x in convolutions for pad in (*x.pad, x.pad_h, x.pad_w))
    return Padding.VALID if wide and not padded else Padding.SAME
