"""A MemoryData layer: arrays given from Python, batch by batch."""

from pathlib import Path

import caffe
import numpy as np
from show import fill, numbers, outcome, show

Path("memory.prototxt").write_text(
    """name: "memory"
layer { name: "data" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 4 channels: 2 height: 3 width: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }"""
)
Path("solver.prototxt").write_text(
    'net: "memory.prototxt" base_lr: 0.1 lr_policy: "step" stepsize: 3 gamma: 0.5 '
    'snapshot_prefix: "memory"'
)
net = caffe.Net("memory.prototxt", caffe.TRAIN)
fill(net)
show("inputs", list(net.inputs))
data = numbers((8, 2, 3, 3), 4)
labels = np.array([0, 4, 1, 2, 3, 3, 2, 0], dtype=np.float32)
net.set_input_arrays(data, labels)
for i in range(3):
    out = net.forward()
    show(f"loss {i}", float(out["loss"]))
    show(f"labels {i}", net.blobs["label"].data)
    show(f"scores {i}", net.blobs["ip"].data)

outcome("float64", lambda: net.set_input_arrays(data.astype(float), labels))
outcome("labels of integers", lambda: net.set_input_arrays(data, labels.astype(int)))
outcome("no whole batches", lambda: net.set_input_arrays(data[:7], labels[:7]))
outcome("fewer labels", lambda: net.set_input_arrays(data, labels[:4]))

solver = caffe.get_solver("solver.prototxt")
fill(solver.net)
solver.net.set_input_arrays(data, labels)
for i in range(8):
    solver.step(1)
    show(f"trained {i}", float(solver.net.blobs["loss"].data))
show("weights", solver.net.params["ip"][0].data)
Path("other.prototxt").write_text(
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
)
other = caffe.Net("other.prototxt", caffe.TEST)
outcome("no MemoryData", lambda: other.set_input_arrays(data, labels))
