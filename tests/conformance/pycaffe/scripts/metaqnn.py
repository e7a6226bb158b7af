# ruff: noqa: C408, N812
"""The calls that the released MetaQNN code makes: records, nets as Python, tops renamed."""

from pathlib import Path

import caffe
import numpy as np
from caffe import layers as cl
from caffe import params as P
from caffe import to_proto
from show import fill, show


def records():
    image = np.arange(48).reshape(3, 4, 4)
    for as_float in (False, True):
        datum = caffe.proto.caffe_pb2.Datum()
        datum.channels, datum.height, datum.width = image.shape
        if as_float:
            datum.float_data.extend(image.astype(float).flat)
        else:
            datum.data = image.astype(np.uint8).tobytes()
        datum.label = 7
        show("record", list(datum.SerializeToString()))
        show("read back", caffe.io.datum_to_array(datum))


def data_layer(source, phase, train):
    transform_param = {"scale": 0.0078125, "mean_value": 128}
    if train:
        transform_param["mirror"] = False
    return cl.Data(
        batch_size=32 if train else 50,
        backend=P.Data.LMDB,
        name="data",
        source=source,
        ntop=2,
        include={"phase": phase},
        transform_param=transform_param,
    )


def batch_norm(bottom):
    bottom = cl.BatchNorm(bottom, in_place=True)
    return cl.Scale(bottom, bias_term=True, bias_filler=dict(value=0), in_place=True)


def relu(bottom):
    return cl.ReLU(bottom, in_place=True)


def convolution(bottom, **fields):
    return cl.Convolution(bottom, weight_filler=dict(type="xavier"), **fields)


def rename(net):
    """Both data layers' tops become `data` and `label`, in every layer."""
    names = {}
    for layer in net.layer[:2]:
        names[layer.top[0]], names[layer.top[1]] = "data", "label"
    for layer in net.layer:
        for blobs in (layer.top, layer.bottom):
            for i in range(len(blobs)):
                blobs[i] = names.get(blobs[i], blobs[i])
    return net


def net(with_batch_norm):
    data, label = data_layer("train", caffe.TRAIN, train=True)
    data1, _ = data_layer("test", caffe.TEST, train=False)
    x = convolution(data, kernel_size=3, num_output=8, stride=1, pad=1)
    if with_batch_norm:
        x = batch_norm(x)
    x = relu(x)
    x = cl.Pooling(x, kernel_size=5, stride=3, pool=P.Pooling.MAX)
    x = cl.Dropout(x, dropout_ratio=0.5 * float(1) / 2)
    x = relu(convolution(x, kernel_size=1, num_output=6))
    x = cl.Pooling(x, kernel_size=9, pool=P.Pooling.AVE)
    x = relu(cl.InnerProduct(x, num_output=16, weight_filler=dict(type="xavier")))
    x = cl.InnerProduct(x, num_output=10, weight_filler=dict(type="xavier"))
    loss = cl.SoftmaxWithLoss(x, label)
    accuracy = cl.Accuracy(x, label)
    return rename(to_proto(data, data1, accuracy, loss))


records()
show("with batch normalization", net(True))
text = str(net(False))
show("net", text)
Path("metaqnn.prototxt").write_text(text)
tested = caffe.Net("metaqnn.prototxt", caffe.TEST)
fill(tested)
out = tested.forward()
show("outputs", sorted(out))
show("scores", tested.blobs["InnerProduct2"].data)
show("loss", float(out["SoftmaxWithLoss1"]))
trained = caffe.Net("metaqnn.prototxt", caffe.TRAIN)
show("layers", [(layer.type, len(layer.blobs)) for layer in trained.layers])
show("names", list(trained._layer_names))
show("connections", [list(trained.bottom_names.items()), list(trained.top_names.items())])
