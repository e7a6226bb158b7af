"""Where a net computes and what its random numbers come from."""

import ctypes
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from caffe_torch.log import FatalError

PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Runtime:
    """A device and its seeded random streams, shared by the nets of one solver.

    Attributes:
        device: where tensors live.
        rng: fillers, crops, flips.
        dropout: dropout masks, a generator on `device`.
        precision: of training and testing as a whole; `fp32` is Caffe's. `tf32` rounds the
            factors of a GPU's convolutions and inner products to 10 bits; `bf16` computes these
            layers, and those between them that only move or clip values, in bfloat16. Parameters,
            their gradients and history, losses and statistics are float32 in each.
    """

    device: torch.device
    rng: np.random.Generator
    dropout: torch.Generator
    precision: str = "fp32"

    def autocast(self) -> AbstractContextManager[None]:
        """Where `bf16` layers run forward."""
        return torch.autocast(self.device.type, torch.bfloat16)

    @classmethod
    def create(cls, seed: int = -1, gpu: int | None = None, precision: str = "fp32") -> "Runtime":
        """A runtime on the CPU, or on one GPU.

        Args:
            seed: negative: from the operating system.
            gpu: a CUDA device's id.
            precision: one of `PRECISIONS`.

        Raises:
            FatalError: there is no such GPU or precision, or the device has not that precision.
        """
        if precision not in PRECISIONS:
            raise FatalError(
                "caffe.cpp:117", f"--precision {precision}: it is one of {', '.join(PRECISIONS)}"
            )
        if precision == "tf32" and gpu is None:
            raise FatalError(
                "caffe.cpp:117",
                "--precision tf32: only NVIDIA GPUs since Ampere have it; give --gpu, or fp32",
            )
        device = torch.device("cpu") if gpu is None else _cuda(gpu, precision)
        sequence = np.random.SeedSequence(seed if seed >= 0 else None)
        dropout = torch.Generator(device=device)
        dropout.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        return cls(device, np.random.default_rng(sequence), dropout, precision)


THREADS = "CAFFE_TORCH_THREADS"


def prepare_process() -> None:
    """Once in a process that trains or tests: its number of threads, and freed memory kept.

    CAFFE_TORCH_THREADS says how many threads compute; without it PyTorch decides (OMP_NUM_THREADS,
    else one a core). Several processes of one machine want a share of the cores each.

    Raises:
        FatalError: CAFFE_TORCH_THREADS is no positive number.
    """
    asked = os.environ.get(THREADS, "")
    if asked:
        if not (asked.isascii() and asked.isdigit() and 0 < int(asked) < 1 << 16):
            raise FatalError(
                "common.cpp:60", f"{THREADS}={asked}: give a number of threads, 1 or more"
            )
        torch.set_num_threads(int(asked))
    _keep_freed_memory()


def _keep_freed_memory() -> None:
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


def _cuda(gpu: int, precision: str) -> torch.device:
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
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.cuda.set_device(gpu)
    return torch.device("cuda", gpu)
