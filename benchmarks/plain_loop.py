"""A training loop over a Caffe net as one would write it in PyTorch; engine.py runs it.

It stands for the hand-written script that a user would otherwise have: the same layers read from
the same prototxt, images in memory (on the device), channels_last, Adam, autocast for bf16. It
prints `first` after the first iteration and `last` after the last.

    python plain_loop.py NET.prototxt C,H,W BATCH ITERATIONS THREADS DEVICE PRECISION
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from google.protobuf import text_format
from torch import nn


def model_of(net: Any, channels: int) -> nn.Sequential:
    """The chain of a net's layers between its data and its loss.

    Raises:
        SystemExit: a layer that these benchmarks' nets do not have.
    """
    modules: list[nn.Module] = []
    for layer in net.layer:
        if layer.type == "Convolution":
            p = layer.convolution_param
            pad, stride = (p.pad or [0])[0], (p.stride or [1])[0]
            modules.append(nn.Conv2d(channels, p.num_output, p.kernel_size[0], stride, pad))
            channels = p.num_output
        elif layer.type == "Pooling":
            p = layer.pooling_param
            kind = nn.MaxPool2d if p.pool == caffe_pb2.PoolingParameter.MAX else nn.AvgPool2d
            modules.append(kind(p.kernel_size, p.stride, p.pad, ceil_mode=True))
        elif layer.type == "InnerProduct":
            if not any(isinstance(module, nn.Flatten) for module in modules):
                modules.append(nn.Flatten())
            modules.append(nn.LazyLinear(layer.inner_product_param.num_output))
        elif layer.type in ("ReLU", "ELU"):
            modules.append(getattr(nn, layer.type)(inplace=True))
        elif layer.type == "Dropout":
            modules.append(nn.Dropout(layer.dropout_param.dropout_ratio))
        elif layer.type not in ("Data", "SoftmaxWithLoss", "Accuracy"):
            raise SystemExit(f"plain_loop: no module for a {layer.type} layer")
    return nn.Sequential(*modules)


def main() -> None:
    """Train, and mark the first and the last iteration."""
    prototxt, shape, *numbers, device, precision = sys.argv[1:]
    image = tuple(map(int, shape.split(",")))
    batch, iterations, threads = map(int, numbers)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    net = text_format.Parse(Path(prototxt).read_text(encoding="utf-8"), caffe_pb2.NetParameter())
    images = torch.rand(4 * batch, *image).to(device, memory_format=torch.channels_last)
    labels = torch.randint(10, (4 * batch,)).to(device)
    model = model_of(net, image[0]).to(device)
    model(images[:2])  # gives the lazy layer its shape
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    autocast: Any = contextlib.nullcontext()
    if precision == "bf16":
        autocast = torch.autocast(torch.device(device).type, torch.bfloat16)
    for iteration in range(iterations + 1):
        start = iteration % 4 * batch
        optimizer.zero_grad()
        with autocast:
            loss = criterion(model(images[start : start + batch]), labels[start : start + batch])
        loss.backward()
        optimizer.step()
        if iteration in (0, iterations):
            loss.item()
            print("first" if iteration == 0 else "last", file=sys.stderr, flush=True)


main()
