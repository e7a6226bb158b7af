"""The test net of a trained net that leaves what it thinks of each image for `caffe test` to print.

`caffe test` prints every value of every blob that no layer takes, batch after batch, so this net
leaves three: the classes' probabilities, the labels and the batch's accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import text_format

import prototxt_gen.caffe_pb2 as caffe_pb2

PROBABILITIES = "prob"
"""The blob of the softmax, batch × classes."""
LABELS = "label_out"
"""The blob of the labels, one for each image of the batch."""
ACCURACY = "accuracy"
"""The blob of the batch's accuracy, one value."""


class PredictionNetError(ValueError):
    """A net cannot be made to tell its predictions; the message says why and what to do."""


def prediction_net_text(net_text: str, source: str, batch: int) -> str:
    """The TEST phase of a training net, over one database, that prints its predictions.

    The Data layer keeps its transformation (mean, scale, centre crop) but mirrors nothing, which
    Caffe would do at random in TEST too. Losses, accuracies and a last Softmax make room for
    `prob` (Softmax), `label_out` (Power, which copies) and `accuracy`. The layers with weights
    keep their names, by which Caffe finds them in a `.caffemodel`.

    Args:
        net_text: prototxt of the training net.
        source: the LMDB, as seen from where `caffe` will run.
        batch: images of one iteration.

    Raises:
        PredictionNetError: if the text is no net of today's format, or has not one Data layer in
            TEST, or not one SoftmaxWithLoss.
    """
    net = caffe_pb2.NetParameter()
    try:
        text_format.Parse(net_text, net)
    except text_format.ParseError as error:
        raise PredictionNetError(f"no net prototxt: {error}") from None
    if net.layers:
        raise PredictionNetError(
            f"net {net.name!r} is of Caffe's old format (`layers`); "
            "convert it with Caffe's upgrade_net_proto_text"
        )
    scores, label = _scored(net)
    kept = [layer for layer in net.layer if _runs_in_test(layer) and not _judges(layer)]
    taken = {bottom for layer in kept for bottom in layer.bottom} | {scores}
    kept = [layer for layer in kept if layer.type != "Softmax" or taken & set(layer.top)]
    _redirect(net.name, kept, source, batch)

    out = caffe_pb2.NetParameter(name=net.name, layer=kept)
    for type_, name, bottoms in (
        ("Softmax", PROBABILITIES, (scores,)),
        ("Power", LABELS, (label,)),
        ("Accuracy", ACCURACY, (scores, label)),
    ):
        out.layer.add(name=name, type=type_, bottom=bottoms, top=(name,))
    return str(text_format.MessageToString(out))


def _scored(net: caffe_pb2.NetParameter) -> tuple[str, str]:
    """The blobs of the scores and of the labels: what SoftmaxWithLoss takes."""
    found = {tuple(layer.bottom) for layer in net.layer if layer.type == "SoftmaxWithLoss"}
    if len(found) != 1 or len(bottoms := found.pop()) != 2:
        raise PredictionNetError(
            f"net {net.name!r} must have one SoftmaxWithLoss, of scores and labels, "
            "to tell which blob holds the scores"
        )
    scores, label = bottoms
    return scores, label


def _judges(layer: caffe_pb2.LayerParameter) -> bool:
    return str(layer.type).endswith(("Accuracy", "Loss"))


def _runs_in_test(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether a layer's rules let it into TEST; what else they ask for is left to Caffe."""

    def meets(rules: Iterable[caffe_pb2.NetStateRule]) -> bool:
        return any(not rule.HasField("phase") or rule.phase == caffe_pb2.TEST for rule in rules)

    return meets(layer.include) if layer.include else not meets(layer.exclude)


def _redirect(name: str, layers: list[caffe_pb2.LayerParameter], source: str, batch: int) -> None:
    """Have the Data layer read another database, in the order of its records."""
    data = [layer for layer in layers if layer.type == "Data"]
    if len(data) != 1 or any(not layer.bottom for layer in layers if layer.type != "Data"):
        raise PredictionNetError(
            f"net {name!r} must read its test images and labels through one Data layer"
        )
    param = data[0].data_param
    param.source, param.batch_size, param.backend = source, batch, caffe_pb2.DataParameter.LMDB
    param.ClearField("rand_skip")
    data[0].transform_param.ClearField("mirror")
