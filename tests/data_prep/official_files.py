"""Small data sets in the official formats, byte layout included."""

from pathlib import Path

import numpy as np
import scipy.io

from data_prep.idx import encode_idx


def cifar10(folder: Path) -> None:
    """Six files of 40 records each: a label byte, then 3,072 bytes of pixels."""
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, (40, 3073), np.uint8)
        records[:, 0] = np.arange(40) % 10
        (folder / name).write_bytes(records.tobytes())


def cifar100(folder: Path) -> None:
    """Two files of 200 records: coarse and fine label, then pixels."""
    rng = np.random.default_rng(0)
    for name in ("train.bin", "test.bin"):
        records = rng.integers(0, 256, (200, 3074), np.uint8)
        records[:, 0] = np.arange(200) % 20
        records[:, 1] = np.arange(200) % 100
        (folder / name).write_bytes(records.tobytes())


def svhn(folder: Path) -> None:
    """Three MAT-files: X 32×32×3×N, y N×1 with 10 for the digit 0."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 200), ("test", 30), ("extra", 100)):
        images = rng.integers(0, 256, (32, 32, 3, count), np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8).reshape(-1, 1)
        content = {"X": images, "y": labels}
        scipy.io.savemat(folder / f"{name}_32x32.mat", content, do_compression=True)


def mnist(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 30)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(encode_idx(images))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(encode_idx(labels))


FILES = {"cifar10": cifar10, "cifar100": cifar100, "svhn": svhn, "mnist": mnist}
