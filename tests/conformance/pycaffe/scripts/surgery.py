# ruff: noqa: B905
"""Net surgery: inner products become convolutions, and classify every place of a larger image."""

from pathlib import Path

import caffe
import numpy as np
from show import fill, numbers, show

HEAD = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
"""
INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { %s } } }'
PRODUCTS = """
layer { name: "fc1" type: "InnerProduct" bottom: "pool" top: "fc1"
  inner_product_param { num_output: 12 } }
layer { name: "relu1" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
  inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }
"""
CONVOLUTIONS = """
layer { name: "fc1-conv" type: "Convolution" bottom: "pool" top: "fc1-conv"
  convolution_param { num_output: 12 kernel_size: 5 } }
layer { name: "relu1" type: "ReLU" bottom: "fc1-conv" top: "fc1-conv" }
layer { name: "fc2-conv" type: "Convolution" bottom: "fc1-conv" top: "fc2-conv"
  convolution_param { num_output: 5 kernel_size: 1 } }
layer { name: "prob" type: "Softmax" bottom: "fc2-conv" top: "prob" }
"""


def write(path, size, rest):
    dims = f"dim: 1 dim: 3 dim: {size} dim: {size}"
    Path(path).write_text('name: "surgery"' + INPUT % dims + HEAD + rest)


write("products.prototxt", 12, PRODUCTS)
write("convolutions.prototxt", 20, CONVOLUTIONS)
net = caffe.Net("products.prototxt", caffe.TEST)
fill(net)
net.save("products.caffemodel")
net = caffe.Net("products.prototxt", "products.caffemodel", caffe.TEST)
layers = ["fc1", "fc2"]
products = {name: (net.params[name][0].data, net.params[name][1].data) for name in layers}
show("products", [(k, w.shape, b.shape) for k, (w, b) in products.items()])

full = caffe.Net("convolutions.prototxt", "products.caffemodel", caffe.TEST)
names = ["fc1-conv", "fc2-conv"]
convolutions = {name: (full.params[name][0].data, full.params[name][1].data) for name in names}
show("convolutions", [(k, w.shape, b.shape) for k, (w, b) in convolutions.items()])
for name, conv in zip(layers, names):
    convolutions[conv][0].flat = products[name][0].flat
    convolutions[conv][1][...] = products[name][1]
full.save("convolutions.caffemodel")

image = numbers((3, 20, 20), 5, 2.0)
out = full.forward_all(data=np.asarray([image]))
show("map", out["prob"])
show("classes", out["prob"][0].argmax(axis=0))
corner = net.forward(data=image[None, :, :12, :12])["prob"]
show("the corner alone", corner)
show("as in the map", float(abs(corner[0] - out["prob"][0, :, 0, 0]).max()) < 1e-5)

reloaded = caffe.Net("convolutions.prototxt", caffe.TEST)
reloaded.copy_from("convolutions.caffemodel")
show("reloaded", reloaded.forward(data=image[None])["prob"])

full.params["conv"][0].data[0] = 0
full.params["conv"][0].data.reshape(-1)[27:54] = 0.5
full.params["conv"][1].data[...] *= 2
show("changed in place", full.forward()["prob"])

blob = caffe.proto.caffe_pb2.NetParameter()
blob.ParseFromString(Path("convolutions.caffemodel").read_bytes())
show("in the file", [(layer.name, len(layer.blobs)) for layer in blob.layer])
