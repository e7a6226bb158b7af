"""Runs real pycaffe for the conformance tests; executed by its interpreter (Python 3.9).

It serves jobs, one a line of standard input, each a JSON list, and answers `done` to each:

    ["net", CWD, NET.prototxt, IN.npz, OUT.npz, PHASE]
    ["forward", …] the same without the backward pass
    ["solve", CWD, SOLVER.prototxt, IN.npz, OUT.npz, ITERATIONS, RESUME.solverstate or ""]

IN holds `param/<layer>/<i>`, `blob/<name>` (values) and `diff/<name>` (top gradients); OUT holds
what was computed under the same names, and `pdiff/<layer>/<i>`. `solve` adds `losses` and the
`rates` of the iterations, and snapshots at the end.
"""

import json
import os
import sys

import caffe
import numpy as np


def set_params(net, given):
    for key in given.files:
        kind, _, name = key.partition("/")
        if kind == "param":
            layer, index = name.rsplit("/", 1)
            net.params[layer][int(index)].data[...] = given[key]


def get_params(net, out):
    for layer, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            out[f"param/{layer}/{i}"] = blob.data.copy()
            out[f"pdiff/{layer}/{i}"] = blob.diff.copy()


def run_net(prototxt, given, phase, backward=True):
    net = caffe.Net(prototxt, getattr(caffe, phase))
    set_params(net, given)
    for key in given.files:
        kind, _, name = key.partition("/")
        if kind == "blob":
            net.blobs[name].data[...] = given[key]
    net.forward()
    out = {"blob/" + name: blob.data.copy() for name, blob in net.blobs.items()}
    if not backward:
        return out
    for key in given.files:
        kind, _, name = key.partition("/")
        if kind == "diff":
            net.blobs[name].diff[...] = given[key]
    net.backward()
    out.update({"diff/" + name: blob.diff.copy() for name, blob in net.blobs.items()})
    get_params(net, out)
    return out


def run_solver(prototxt, given, iterations, resume):
    solver = caffe.get_solver(prototxt)
    if resume:
        solver.restore(resume)
    else:
        set_params(solver.net, given)
    losses, rates = [], []
    for _ in range(iterations):
        rates.append(solver.lr)
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    solver.snapshot()
    out = {"losses": np.array(losses), "rates": np.array(rates)}
    get_params(solver.net, out)
    return out


def main():
    caffe.set_mode_cpu()
    for line in sys.stdin:
        mode, folder, prototxt, source, target, argument = json.loads(line)[:6]
        os.chdir(folder)
        given = np.load(source)
        if mode in ("net", "forward"):
            out = run_net(prototxt, given, argument, mode == "net")
        else:
            out = run_solver(prototxt, given, int(argument), json.loads(line)[6])
        np.savez(target, **out)
        print("done", flush=True)


main()
