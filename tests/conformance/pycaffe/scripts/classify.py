"""Classification: images through a Transformer into a net, batches, oversampling."""

from pathlib import Path

import caffe
import numpy as np
from show import fill, numbers, show

Path("deploy.prototxt").write_text(
    """name: "deploy"
input: "data" input_shape { dim: 10 dim: 3 dim: 11 dim: 11 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 7 kernel_size: 3 stride: 2 } }
layer { name: "norm" type: "LRN" bottom: "conv" top: "norm" lrn_param { local_size: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "norm" top: "ip"
  inner_product_param { num_output: 6 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }"""
)
net = caffe.Net("deploy.prototxt", caffe.TEST)
fill(net)
net.save("deploy.caffemodel")

images = [abs(numbers((h, w, 3), i)) for i, (h, w) in enumerate([(16, 13), (11, 11), (25, 40)])]
mean = np.array([104.0, 117.0, 123.0])
transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
transformer.set_transpose("data", (2, 0, 1))
transformer.set_mean("data", mean)
transformer.set_raw_scale("data", 255)
transformer.set_channel_swap("data", (2, 1, 0))
transformer.set_input_scale("data", 0.017)
for image in images:
    values = transformer.preprocess("data", image)
    show("preprocessed", values)
    show("deprocessed", transformer.deprocess("data", values))

net.blobs["data"].reshape(3, 3, 11, 11)
net.blobs["data"].data[...] = [transformer.preprocess("data", image) for image in images]
out = net.forward()
show("probabilities", out["prob"])
show("best", out["prob"].argmax(1).tolist())
net.blobs["data"].reshape(1, 3, 11, 11)
net.reshape()
show("reshaped", [list(blob.shape) for blob in net.blobs.values()])
net.blobs["data"].data[0] = transformer.preprocess("data", images[2])
show("one", net.forward(blobs=["ip"])["ip"])

transformer.set_mean("data", 100 * abs(numbers((3, 7, 9), 3)))
show("mean image", transformer.mean["data"])
show("less a mean image", transformer.preprocess("data", images[0]))
grey = caffe.io.Transformer({"data": (1, 1, 8, 8)})
grey.set_transpose("data", (2, 0, 1))
show("grey", grey.preprocess("data", images[0][:, :, :1]))

show("resized", caffe.io.resize_image(images[0], (9, 17)))
show("nearest", caffe.io.resize_image(images[0], (9, 17), interp_order=0))
show("four channels", caffe.io.resize_image(numbers((8, 9, 4), 1), (5, 14)))
show("flat", caffe.io.resize_image(np.full((4, 4, 3), 0.25, np.float32), (3, 5)))
show("crops", caffe.io.oversample(images[:1], (9, 8)))

classifier = caffe.Classifier(
    "deploy.prototxt",
    "deploy.caffemodel",
    image_dims=(14, 15),
    mean=mean,
    raw_scale=255,
    channel_swap=(2, 1, 0),
    input_scale=0.01,
)
show("ten crops each", classifier.predict(images))
show("centres", classifier.predict(images, oversample=False))
plain = caffe.Classifier("deploy.prototxt", "deploy.caffemodel")
show("as large as the net", plain.predict(images[:1]))

record = caffe.io.array_to_datum(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), 5)
show("record", [record.channels, record.height, record.width, record.label, list(record.data)])
show("back", caffe.io.datum_to_array(record))
blob = caffe.io.array_to_blobproto(numbers((2, 3), 0), numbers((2, 3), 1))
show("blob", caffe.io.blobproto_to_array(blob))
show("its gradient", caffe.io.blobproto_to_array(blob, return_diff=True))
vector = caffe.io.arraylist_to_blobprotovector_str([numbers((2, 3), 0), numbers((4,), 1)])
show("vector", caffe.io.blobprotovector_str_to_arraylist(vector)[1])
