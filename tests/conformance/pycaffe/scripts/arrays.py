# ruff: noqa: C408, N812
"""A net's arrays: what is a view, what writes reach, and what goes back from where."""

from functools import partial
from pathlib import Path

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P
from show import fill, numbers, outcome, show

n = caffe.NetSpec()
n.data = L.Input(shape=dict(dim=[2, 3, 8, 8]))
n.label = L.Input(shape=dict(dim=[2]))
n.conv = L.Convolution(n.data, kernel_size=3, num_output=4, weight_filler=dict(type="xavier"))
n.elu = L.ELU(n.conv)
n.pool = L.Pooling(n.elu, kernel_size=2, stride=2, pool=P.Pooling.AVE)
n.tanh = L.TanH(n.pool, in_place=True)
n.fc = L.InnerProduct(n.tanh, num_output=5, weight_filler=dict(type="xavier"))
n.prob = L.Softmax(n.fc)
n.loss = L.SoftmaxWithLoss(n.fc, n.label, loss_weight=2)
text = str(n.to_proto())
Path("arrays.prototxt").write_text("force_backward: true\n" + text)
net = caffe.Net("arrays.prototxt", phase=caffe.TRAIN)
fill(net)

show("names", [list(net.inputs), list(net.outputs), list(net._layer_names), list(net.blobs)])
show("connections", [list(net.bottom_names.items()), list(net.top_names.items())])
show("types", [layer.type for layer in net.layers])
show("layers by name", {name: layer.type for name, layer in net.layer_dict.items()})
show("blobs of layers", [len(layer.blobs) for layer in net.layers])
show("loss weights", list(net.blob_loss_weights.items()))
blob = net.blobs["data"]
show("blob", [list(blob.shape), blob.count, blob.num, blob.channels, blob.height, blob.width])
show("label", [list(net.blobs["label"].shape), net.blobs["label"].num, net.blobs["label"].width])
show("dtype", [str(blob.data.dtype), str(blob.diff.dtype), blob.data.flags.c_contiguous])

held = {name: (blob.data, blob.diff) for name, blob in net.blobs.items()}
data, label = numbers((2, 3, 8, 8), 1), np.array([1, 4])
out = net.forward(data=data, label=label)
show("forward", sorted((name, list(values.shape)) for name, values in out.items()))
back = net.backward()
show("backward", sorted((name, list(values.shape)) for name, values in back.items()))
for name in net.blobs:
    show("data of " + name, net.blobs[name].data)
    show("diff of " + name, net.blobs[name].diff)
    if "split" not in name:  # whose tops are other blobs' memory in Caffe
        show("held data of " + name, held[name][0])
        show("held diff of " + name, held[name][1])

update = net.params["conv"][0].diff
show("gradient", update)
net.backward()
show("twice", update)
net.clear_param_diffs()
show("cleared", update)
net.params["fc"][0].data[...] *= 0.5
net.params["fc"][1].data[2] = 3
show("changed", net.forward()["prob"])

show("to the pool", sorted(net.forward(end="pool")))
net.blobs["pool"].data[...] = numbers((2, 4, 3, 3), 7)
show("from the pool", net.forward(start="tanh")["prob"])
show("with more", sorted(net.forward(blobs=["conv"])))
net.forward()
net.blobs["pool"].diff[...] = net.blobs["pool"].data
net.backward(start="pool")
show("gradient ascent", net.blobs["data"].diff)
net.blobs["loss"].diff[...] = 3
show("scaled loss", net.backward(diffs=["conv"])["conv"])
net.blobs["loss"].diff[...] = 2
show("down to", sorted(net.backward(end="fc")))
net.blobs["prob"].diff[...] = numbers((2, 5), 3)
net.blobs["loss"].diff[...] = 0
show("written", net.backward()["data"])
net.blobs["prob"].diff[...] = 0
net.blobs["loss"].diff[...] = 2

outcome("no file", lambda: caffe.Net("nowhere.prototxt", caffe.TEST))
outcome("no weights", lambda: caffe.Net("arrays.prototxt", "nowhere", caffe.TEST))
outcome("an input is missing", lambda: net.forward(data=data))
outcome("an input too many", lambda: net.forward(data=data, label=label, other=label))
outcome("another batch", lambda: net.forward(data=data[:1], label=label))
outcome("no layer", lambda: net.forward(start="nowhere"))
outcome("no blob", lambda: net.blobs["nowhere"])
outcome("wrong top", lambda: net.backward(other=label))
outcome("not its to set", lambda: setattr(net.blobs["data"], "data", data))

calls = []
net.before_forward(lambda index: calls.append(["before", index]))
net.after_forward(lambda index: calls.append(["after", index]))
net.before_backward(lambda index: calls.append(["before back", index]))
net.after_backward(lambda index: calls.append(["after back", index]))
net.forward(start="fc")
net.backward(start="pool", end="conv")
show("calls", calls)

del n.tops["loss"], n.tops["label"]
Path("deploy.prototxt").write_text("force_backward: true\n" + str(n.to_proto()))
deploy = caffe.Net("deploy.prototxt", caffe.TEST)
deploy.share_with(net)
every = deploy.forward_all(blobs=["pool"], data=numbers((5, 3, 8, 8), 2))
show("all", every["prob"])
show("all pools", every["pool"])
deploy.forward(data=data)
show("given", deploy.backward(prob=numbers((2, 5), 3), diffs=["conv"])["data"])
outs, diffs = deploy.forward_backward_all(
    blobs=["fc"], diffs=["conv"], data=numbers((4, 3, 8, 8), 2), prob=numbers((4, 5), 9)
)
for name, values in sorted(list(outs.items()) + list(diffs.items())):
    show("both ways " + name, values)
outcome("gradients of another batch", lambda: deploy.backward(prob=numbers((3, 5), 3)))

net.save("arrays.caffemodel")
net.save_hdf5("arrays.caffemodel.h5")
other = caffe.Net("arrays.prototxt", caffe.TEST, weights="arrays.caffemodel")
show("loaded", other.params["conv"][0].data)
third = caffe.Net("arrays.prototxt", caffe.TEST)
third.load_hdf5("arrays.caffemodel.h5")
show("loaded from HDF5", third.params["fc"][0].data)
third.share_with(net)
net.params["fc"][1].data[0] = 5
show("shared", float(third.params["fc"][1].data[0]))

Path("solver.prototxt").write_text(
    'net: "small.prototxt" type: "Adam" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 '
    'snapshot_prefix: "small"'
)
Path("small.prototxt").write_text(text)
for make in (caffe.get_solver, caffe.AdamSolver, caffe.NesterovSolver, caffe.SGDSolver):
    solver = make("solver.prototxt")
    fill(solver.net)
    solver.net.blobs["data"].data[...] = data
    solver.net.blobs["label"].data[...] = label
    seen = []
    solver.add_callback(partial(seen.append, "start"), partial(seen.append, "ready"))
    solver.step(2)
    show("callbacks", seen)
    show("iterations", [solver.iter, len(solver.test_nets), type(solver).__name__])
    show("trained", solver.net.params["fc"][0].data)
    show("last update", solver.net.params["conv"][0].diff)
    show("gradient of fc", solver.net.blobs["fc"].diff)
    solver.net.clear_param_diffs()
    solver.net.forward()
    solver.net.backward()
    solver.apply_update()
    show("by hand", solver.net.params["fc"][0].data)

other = caffe.SGDSolver("solver.prototxt")
other.share_weights(solver.net)
solver.net.params["fc"][1].data[0] = 7
show("shared with a solver", float(other.net.params["fc"][1].data[0]))

# Reshaping keeps the first values in their order.
blob = net.blobs["data"]
shape = tuple(blob.shape)
blob.data[...] = np.arange(blob.count).reshape(shape)
blob.reshape(shape[0] // 2, *shape[1:])
show("shrunk", [tuple(blob.shape), float(blob.data.sum())])
weights = third.params["fc"][0]
total = float(np.abs(weights.data).sum())
weights.reshape(weights.shape[1], weights.shape[0])
show("turned", [tuple(weights.shape), abs(float(np.abs(weights.data).sum()) - total) < 1e-3])
for wrong in (("a", 3), (2.0, 3)):
    try:
        blob.reshape(*wrong)
    except TypeError:
        show("refused", str(wrong))
