"""What the scripts here share: they print results as JSON, one a line, and draw numbers."""

import json

import numpy as np


def show(name, value):
    """Print a result; an array with its shape, a message as text."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = {"shape": list(np.shape(value)), "values": np.ravel(value).astype(float).tolist()}
    elif hasattr(value, "DESCRIPTOR"):
        value = str(value)
    print(json.dumps([name, value]), flush=True)


def outcome(name, call):
    """Print how a call that fails does so: pycaffe's own exceptions with their words."""
    try:
        call()
    except Exception as error:
        words = str(error) if type(error) in (Exception, RuntimeError) else ""
        show(name, [type(error).__name__, words])
    else:
        show(name, "no exception")


def numbers(shape, seed, scale=1.0):
    """Numbers between -scale and scale, the same in every numpy."""
    draws = np.random.default_rng(seed).random(int(np.prod(shape))) * 2 - 1
    return (draws * scale).reshape(shape).astype(np.float32)


def fill(net):
    """Give a net's parameters values that are the same everywhere, in xavier's range."""
    for i, (name, blobs) in enumerate(net.params.items()):
        for j, blob in enumerate(blobs):
            fan_in = max(1, blob.data[0].size) if blob.data.ndim > 1 else 100
            blob.data[...] = numbers(blob.data.shape, 10 * i + j, (3.0 / fan_in) ** 0.5)
            show(f"filled {name} {j}", list(blob.data.shape))
