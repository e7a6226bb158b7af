"""pycaffe on PyTorch: what `import caffe` is in a script that `caffe-torch python` runs."""

import prototxt_gen.caffe_pb2 as _caffe_pb2

from caffe_torch.layers import Layer as _EngineLayer
from caffe_torch.log import FatalError
from caffe_torch.runtime import prepare_process

from . import classifier, io, net_spec, proto, pycaffe
from .classifier import Classifier
from .modes import (
    has_nccl,
    init_log,
    log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from .net_spec import NetSpec, layers, params, to_proto
from .pycaffe import Net
from .python_layer import Layer
from .solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

__version__ = "1.0.0"

prepare_process()

TRAIN = int(_caffe_pb2.TRAIN)
TEST = int(_caffe_pb2.TEST)

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Classifier",
    "FatalError",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "classifier",
    "get_solver",
    "has_nccl",
    "init_log",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "net_spec",
    "params",
    "proto",
    "pycaffe",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]


def layer_type_list() -> list[str]:
    """The layer types that nets may have, sorted."""
    return sorted(_EngineLayer.registry)
