"""`caffe time`: how long each layer takes forward and backward."""

import time
from collections import defaultdict
from collections.abc import Callable

import torch

from caffe_torch.graph import Node
from caffe_torch.log import info, number
from caffe_torch.net import Net


def run(net: Net, iterations: int) -> None:
    """Time a net, layer by layer and as a whole, and log the means in milliseconds."""
    info("caffe.cpp:351", "Performing Forward")
    with torch.no_grad():
        net.forward_only()
    info("caffe.cpp:356", f"Initial loss: {number(float(net.loss()))}")
    info("caffe.cpp:357", "Performing Backward")
    net.forward_backward()
    info("caffe.cpp:365", "*** Benchmark begins ***")
    info("caffe.cpp:366", f"Testing for {iterations} iterations.")
    forward: dict[int, float] = defaultdict(float)
    backward: dict[int, float] = defaultdict(float)
    start = time.perf_counter()
    for iteration in range(iterations):
        begin = time.perf_counter()
        graphs = []
        for i, node in enumerate(net.nodes):
            graph, seconds = _timed(lambda node=node: _forward(net, node), net)  # type: ignore[misc]
            graphs.append(graph)
            forward[i] += seconds
        for i in reversed(range(len(net.nodes))):
            _, seconds = _timed(lambda graph=graphs[i]: _backward(*graph), net)  # type: ignore[misc]
            backward[i] += seconds
        elapsed = 1000 * (time.perf_counter() - begin)
        info(
            "caffe.cpp:394", f"Iteration: {iteration + 1} forward-backward time: {elapsed:.0f} ms."
        )
    total = 1000 * (time.perf_counter() - start)
    scale = 1000 / max(iterations, 1)
    info("caffe.cpp:397", "Average time per layer: ")
    for i, node in enumerate(net.nodes):
        name = f"{node.layer.name:>10}"
        info("caffe.cpp:400", f"{name}\tforward: {number(scale * forward[i])} ms.")
        info("caffe.cpp:403", f"{name}\tbackward: {number(scale * backward[i])} ms.")
    info("caffe.cpp:408", f"Average Forward pass: {number(scale * sum(forward.values()))} ms.")
    info("caffe.cpp:410", f"Average Backward pass: {number(scale * sum(backward.values()))} ms.")
    info("caffe.cpp:412", f"Average Forward-Backward: {number(total * scale / 1000)} ms.")
    info("caffe.cpp:414", f"Total Time: {number(round(total))} ms.")
    info("caffe.cpp:415", "*** Benchmark ends ***")


Graph = tuple[list[torch.Tensor], list[torch.Tensor]]


def _forward(net: Net, node: Node) -> Graph:
    """Run one layer as a graph of its own: its differentiable tops, and what to derive by."""
    bottoms = []
    for name, needs in zip(node.bottoms, node.bottom_needs, strict=True):
        x = net.blobs[name].tensor.detach()
        bottoms.append(x.requires_grad_(needs))
    if node.layer.type == "Input":
        return [], []
    tops = node.layer.forward(bottoms)
    for name, top in zip(node.tops, tops, strict=True):
        net.blobs[name].tensor = top
    leaves = [*bottoms, *(blob.tensor for blob in node.layer.blobs)]
    return (
        [top for top in tops if top.requires_grad] if node.needs_backward else [],
        [leaf for leaf in leaves if leaf.requires_grad],
    )


def _backward(tops: list[torch.Tensor], leaves: list[torch.Tensor]) -> None:
    if tops:
        ones = [torch.ones_like(top) for top in tops]
        torch.autograd.grad(tops, leaves, ones, allow_unused=True)


def _timed(work: Callable[[], Graph | None], net: Net) -> tuple[Graph, float]:
    cuda = net.runtime.device.type == "cuda"
    begin = time.perf_counter()
    result = work()
    if cuda:
        torch.cuda.synchronize()
    return result or ([], []), time.perf_counter() - begin
