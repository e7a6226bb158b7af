"""Where a net computes and what its random numbers come from."""

import ctypes
from dataclasses import dataclass

import numpy as np
import torch

from caffe_torch.log import FatalError


@dataclass(frozen=True)
class Runtime:
    """A device and its seeded random streams, shared by the nets of one solver.

    Attributes:
        device: where tensors live.
        rng: fillers, crops, flips.
        dropout: dropout masks, a generator on `device`.
    """

    device: torch.device
    rng: np.random.Generator
    dropout: torch.Generator

    @classmethod
    def create(cls, seed: int = -1, gpu: int | None = None) -> "Runtime":
        """A runtime on the CPU, or on one GPU.

        Args:
            seed: negative: from the operating system.
            gpu: a CUDA device's id.

        Raises:
            FatalError: there is no such GPU.
        """
        device = torch.device("cpu") if gpu is None else _cuda(gpu)
        sequence = np.random.SeedSequence(seed if seed >= 0 else None)
        dropout = torch.Generator(device=device)
        dropout.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        return cls(device, np.random.default_rng(sequence), dropout)


def keep_freed_memory() -> None:
    """Ask glibc not to give freed blocks back to the system; other C libraries are left alone.

    A net frees and allocates the same large blobs every iteration, and without this every one of
    their pages is zeroed anew: a third more images per second on a convolutional net.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def _cuda(gpu: int) -> torch.device:
    if not torch.cuda.is_available():
        raise FatalError(
            "common.cpp:66",
            "Cannot use GPU in CPU-only Caffe: check mode. (this PyTorch "
            f"{torch.__version__} finds no CUDA device: run without --gpu and with "
            "solver_mode: CPU, or install a CUDA build)",
        )
    if not 0 <= gpu < torch.cuda.device_count():
        raise FatalError(
            "common.cpp:152",
            f"Check failed: error == cudaSuccess invalid device ordinal {gpu}: this machine has "
            f"{torch.cuda.device_count()} GPU(s), numbered from 0; give one of those to --gpu",
        )
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.cuda.set_device(gpu)
    return torch.device("cuda", gpu)
