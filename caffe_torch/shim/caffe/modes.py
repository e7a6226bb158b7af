"""The device and the random streams of nets to come. Source: caffe::Caffe, as pycaffe shows it."""

import os
from dataclasses import dataclass

from caffe_torch.log import FatalError, info
from caffe_torch.runtime import Runtime


@dataclass
class _Modes:
    gpu: bool = False
    device: int = 0
    seed: int = -1
    runtime: Runtime | None = None


_modes = _Modes()


def runtime(seed: int = -1) -> Runtime:
    """The runtime of the next net: one for all until a mode changes, or one of a solver's seed.

    Raises:
        FatalError: a GPU was asked for, and there is none.
    """
    gpu = _modes.device if _modes.gpu else None
    if seed >= 0:
        return Runtime.create(seed, gpu)
    if _modes.runtime is None:
        _modes.runtime = Runtime.create(_modes.seed, gpu)
    return _modes.runtime


def set_mode_cpu() -> None:
    """Build the nets to come on the CPU, as they are by default."""
    _modes.gpu, _modes.runtime = False, None


def set_mode_gpu() -> None:
    """Build the nets to come on the GPU of `set_device`."""
    _modes.gpu, _modes.runtime = True, None


def set_device(device: int) -> None:
    """Choose the GPU of `set_mode_gpu`; by default 0."""
    _modes.device, _modes.runtime = device, None


def set_random_seed(seed: int) -> None:
    """Begin the fillers' and layers' random streams anew: numpy's and PyTorch's, not Caffe's."""
    _modes.seed, _modes.runtime = seed, None


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Log from this level on: 0 is all, 1 warnings, 2 errors. The log is always on stderr."""
    os.environ["GLOG_minloglevel"] = str(level)  # noqa: SIM112


def log(message: str) -> None:
    """Log a message."""
    info("_caffe.cpp:71", message)


def has_nccl() -> bool:
    """False: one process trains on one device."""
    return False


def solver_count() -> int:
    """1: see `has_nccl`."""
    return 1


def set_solver_count(count: int) -> None:
    """Accept 1.

    Raises:
        FatalError: any other number.
    """
    if count != 1:
        raise FatalError(
            "common.cpp:121",
            f"set_solver_count({count}): this engine trains on one device per process; run one "
            "script per device",
        )


def solver_rank() -> int:
    """0: see `has_nccl`."""
    return 0


def set_solver_rank(rank: int) -> None:
    """Accepted for rank 0's sake; there are no others."""


def set_multiprocess(multiprocess: bool) -> None:
    """Accepted; see `has_nccl`."""
