# ruff: noqa: C408, N812
"""The calls of a first lesson on LeNet: a net as Python, a solver, its nets, steps, accuracy."""

from pathlib import Path

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P
from show import fill, show


def lenet(source, batch_size):
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=batch_size,
        backend=P.Data.LMDB,
        source=source,
        transform_param=dict(scale=1.0 / 255),
        ntop=2,
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(
        n.pool1, kernel_size=5, num_output=50, weight_filler=dict(type="xavier")
    )
    n.pool2 = L.Pooling(n.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool2, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n.to_proto()


Path("train.prototxt").write_text(str(lenet("train", 64)))
Path("test.prototxt").write_text(str(lenet("test", 100)))
show("net", lenet("train", 64))

s = caffe.proto.caffe_pb2.SolverParameter()
s.train_net = "train.prototxt"
s.test_net.append("test.prototxt")
s.test_interval = 500
s.test_iter.append(2)
s.max_iter = 10000
s.base_lr = 0.001
s.momentum = 0.9
s.weight_decay = 5e-4
s.lr_policy = "inv"
s.gamma = 0.0001
s.power = 0.75
s.display = 1000
s.snapshot_prefix = "lenet"
s.solver_mode = caffe.proto.caffe_pb2.SolverParameter.CPU
Path("solver.prototxt").write_text(str(s))

caffe.set_mode_cpu()
solver = caffe.SGDSolver("solver.prototxt")
show("blobs", [(k, v.data.shape) for k, v in solver.net.blobs.items()])
show("parameters", [(k, v[0].data.shape, v[1].data.shape) for k, v in solver.net.params.items()])
fill(solver.net)
solver.test_nets[0].share_with(solver.net)

show("train", float(solver.net.forward()["loss"]))
show("test", float(solver.test_nets[0].forward()["loss"]))
show("labels", solver.net.blobs["label"].data[:8])
show("images", solver.net.blobs["data"].data[:8, 0].transpose(1, 0, 2).reshape(28, 8 * 28))

solver.step(1)
show("first update", solver.net.params["conv1"][0].diff[:, 0])
show("filters", solver.net.params["conv1"][0].data[:, 0])
show("gradient of the scores", solver.net.blobs["score"].diff)
show("gradient of pool1", solver.net.blobs["pool1"].diff[:4])

iterations, interval = 10, 3
losses, output, accuracies = np.zeros(iterations), np.zeros((iterations, 8, 10)), []
for it in range(iterations):
    solver.step(1)
    losses[it] = solver.net.blobs["loss"].data
    solver.test_nets[0].forward(start="conv1")
    output[it] = solver.test_nets[0].blobs["score"].data[:8]
    if it % interval == 0:
        correct = 0
        for _ in range(2):
            solver.test_nets[0].forward()
            correct += sum(
                solver.test_nets[0].blobs["score"].data.argmax(1)
                == solver.test_nets[0].blobs["label"].data
            )
        accuracies.append(int(correct))
show("losses", losses)
show("outputs", output)
show("accuracies", accuracies)
show("iter", solver.iter)
solver.net.save("by_hand.caffemodel")
solver.snapshot()

again = caffe.get_solver("solver.prototxt")
again.restore("lenet_iter_11.solverstate")
show("iter after restore", again.iter)
again.step(2)
show("restored", again.net.params["score"][0].data)

net = caffe.Net("test.prototxt", "by_hand.caffemodel", caffe.TEST)
show("loaded", net.params["conv2"][0].data)
show("accuracy of the loaded net", float(net.forward()["loss"]))
