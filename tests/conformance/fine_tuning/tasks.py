"""Two small tasks, the nets that learn them, and the models that a run left."""

import re
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from numpy.typing import NDArray

from caffe_torch.blob import from_proto, to_proto

Array = NDArray[np.float32]


def read_model(path: Path) -> dict[str, Array]:
    """Every parameter of a caffemodel, as `layer/index`."""
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return {f"{x.name}/{i}": from_proto(blob) for x in net.layer for i, blob in enumerate(x.blobs)}


def write_model(path: Path, **layers: list[Array]) -> None:
    """A caffemodel of these layers' parameters and nothing else."""
    net = caffe_pb2.NetParameter()
    for name, arrays in layers.items():
        net.layer.add(name=name, blobs=[to_proto(array) for array in arrays])
    path.write_bytes(net.SerializeToString())


# The first task is to tell ten noisy patterns; the second, seven mixtures of two of them each.
PATTERNS = np.kron(np.random.default_rng(0).integers(0, 256, (10, 7, 7)), np.ones((4, 4)))
MIXTURES = (PATTERNS[:7] + PATTERNS[3:]) / 2


def write_lmdb(
    path: Path, patterns: NDArray[np.float64], records: int, seed: int, noise: int = 60
) -> None:
    """Images 1×28×28 of random classes: 0.6 · pattern + N(50, noise²), clipped to 0…255."""
    rng = np.random.default_rng(seed)
    with (
        lmdb.open(str(path), map_size=1 << 28) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, label in enumerate(rng.integers(len(patterns), size=records).tolist()):
            image = 0.6 * patterns[label] + rng.normal(50, noise, (28, 28))
            datum = caffe_pb2.Datum(channels=1, height=28, width=28, label=label)
            datum.data = image.clip(0, 255).astype(np.uint8).tobytes()
            transaction.put(f"{i:08d}".encode(), datum.SerializeToString())


# ELU and average pooling have no ties and no kinks that fp32 noise could tip over.
SMOOTH = """
name: "smooth"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.0078125 mean_value: 120 }
  data_param { source: "patterns_lmdb" batch_size: 64 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.0078125 mean_value: 120 }
  data_param { source: "patterns_lmdb" batch_size: 64 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "elu1" type: "ELU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 32 weight_filler { type: "xavier" } } }
layer { name: "elu2" type: "ELU" bottom: "fc" top: "fc" }
layer { name: "scores" type: "InnerProduct" bottom: "fc" top: "scores"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "scores" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""


def pretraining(name: str, iterations: int) -> str:
    """A solver of `<name>.prototxt` that ends with `<name>_iter_<iterations>.caffemodel`."""
    return (
        f'net: "{name}.prototxt" type: "Adam" base_lr: 0.002 momentum: 0.9 lr_policy: "fixed" '
        f'max_iter: {iterations} snapshot_prefix: "{name}" random_seed: 1 solver_mode: CPU'
    )


PRETRAINED = "smooth_iter_80.caffemodel"
FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"
CONSTANT = 'weight_filler { type: "constant" value: 0.02 }'


def tuned_net(filler: str, net: str = SMOOTH, first: str = "") -> str:
    """The net for the mixtures: the first layer with these `param`, and a new last layer.

    The last layer is renamed `scores7`, has 7 outputs and a rate of its own, as it starts anew.
    """
    net = net.replace("patterns_lmdb", "mixtures_lmdb")
    net = net.replace('bottom: "data" top: "conv"', f'bottom: "data" top: "conv" {first}')
    net = net.replace('top: "fc"\n', 'top: "fc" param { decay_mult: 0.5 } param { lr_mult: 2 }\n')
    net = net.replace(
        'name: "scores"',
        'name: "scores7" param { lr_mult: 5 decay_mult: 2 } param { lr_mult: 10 decay_mult: 0 }',
    )
    return re.sub(r"num_output: 10 weight_filler {.*?}", f"num_output: 7 {filler}", net)
