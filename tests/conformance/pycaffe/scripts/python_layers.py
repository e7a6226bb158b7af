"""Nets with layers written in Python: values, gradients, parameters, training."""

from pathlib import Path

import caffe
from show import fill, numbers, outcome, show

DISTANCE = """
layer { name: "gain" type: "Python" bottom: "x" top: "y"
  python_param { module: "own_layers" layer: "Gain" } }
layer { name: "distance" type: "Python" bottom: "y" bottom: "target" top: "distance"
  loss_weight: 2 python_param { module: "own_layers" layer: "Distance" } }
"""
INPUTS = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
layer { name: "target" type: "Input" top: "target" input_param { shape { dim: %d dim: 3 } } }
"""
Path("distance.prototxt").write_text("force_backward: true" + INPUTS % 4 + DISTANCE)
Path("sizes.prototxt").write_text(INPUTS % 5 + DISTANCE)
Path("train.prototxt").write_text(
    """
layer { name: "batches" type: "Python" top: "data" top: "label"
  python_param { module: "own_layers" layer: "Batches" param_str: "6" } }
layer { name: "gain" type: "Python" bottom: "data" top: "gained"
  python_param { module: "own_layers" layer: "Gain" } }
layer { name: "ip" type: "InnerProduct" bottom: "gained" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
)
Path("solver.prototxt").write_text(
    'net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.01 '
    'test_iter: 1 test_interval: 4 snapshot_prefix: "python"'
)

for phase in (caffe.TRAIN, caffe.TEST):
    net = caffe.Net("distance.prototxt", phase)
    x, target = numbers((4, 3), 1), numbers((4, 3), 2)
    show("loss", net.forward(x=x, target=target)["distance"])
    for name, gradient in sorted(net.backward().items()):
        show("gradient of " + name, gradient)
    show("gradient of the gain", net.params["gain"][0].diff)
    net.backward()
    show("twice", net.params["gain"][0].diff)
    show("types", [layer.type for layer in net.layers])
    show("blobs", [len(layer.blobs) for layer in net.layers])
    show("what the layer kept", net.layers[3].calls)
    net.blobs["x"].reshape(2, 3)
    net.blobs["target"].reshape(2, 3)
    show("smaller", net.forward(x=x[:2], target=target[:2])["distance"])
    net.save("distance.caffemodel")
    net.params["gain"][0].data[...] = 0
    net.copy_from("distance.caffemodel")
    show("copied", net.params["gain"][0].data)

solver = caffe.get_solver("solver.prototxt")
fill(solver.net)
for i in range(6):
    solver.step(1)
    show(f"trained {i}", float(solver.net.blobs["loss"].data))
show("gain", solver.net.params["gain"][0].data)
show("weights", solver.net.params["ip"][0].data)
show("passes", [solver.net.layers[0].passes, solver.test_nets[0].layers[0].passes])
outcome("bottoms of two sizes", lambda: caffe.Net("sizes.prototxt", caffe.TRAIN))
