"""Seconds and memory to write images to an LMDB: `write_lmdb` against the released code's way.

Both get the same generated images as one array in memory, 3×32×32 in uint8 and in float32. The
released code's way is one transaction of one Datum message at a time, serialized by protobuf, in
a map of 50 times the array's bytes, float pixels given to protobuf as Python numbers. Both end
with everything flushed to the disk; the seconds include that. Each variant runs in a process of
its own: its peak memory is the process's largest resident set, told as such and less what it was
once the images were there.

--svhn-extra streams as many images as SVHN's extra set has (531,131, unless --images says
otherwise): a MAT-file in that set's layout is written, then read, shuffled and written to an LMDB
as `python -m data_prep` does it. That takes 4 GB in the temporary folder (TMPDIR).
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # this folder is searched first, and this file's name hides the package
    sys.path.append(sys.path.pop(0))

import logging
import multiprocessing
import resource
import statistics
import struct
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec

import lmdb
import numpy as np
from numpy.typing import NDArray
from side_by_side import Comparison, interleave, parser, positive, show, summarize

from data_prep.lmdb_writer import Chunk, write_lmdb
from data_prep.svhn import EXTRA, TEST, TRAIN, locate_svhn, read_svhn
from prototxt_gen import caffe_pb2

P = ParamSpec("P")

SHAPE = (3, 32, 32)
CHUNK = 5000  # images that the package prepares at a time
OURS, RELEASED = "write_lmdb", "released code's way"
SVHN_EXTRA = 531_131


@dataclass(frozen=True)
class Cost:
    """What a process needed: seconds by part, largest resident set before and after, in bytes."""

    seconds: dict[str, float]
    before: int
    peak: int


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_own_process(function: Callable[P, Cost], *args: P.args, **kwargs: P.kwargs) -> Cost:
    """Call it in a new process, which shares no memory with this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def write_released(folder: Path, images: NDArray[Any], labels: NDArray[np.integer]) -> None:
    """One transaction, one Datum at a time, a map of 50 times the array's bytes."""
    with lmdb.open(str(folder), map_size=50 * images.nbytes) as env:
        with env.begin(write=True) as transaction:
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                datum = caffe_pb2.Datum()
                datum.channels, datum.height, datum.width = image.shape
                if image.dtype == np.uint8:
                    datum.data = image.tobytes()
                else:
                    datum.float_data.extend(image.astype(float).flat)
                datum.label = int(label)
                transaction.put(b"%08d" % number, datum.SerializeToString())
        env.sync(True)


def write_ours(folder: Path, images: NDArray[Any], labels: NDArray[np.integer]) -> None:
    """The package's writer, in chunks as its preparations call it."""
    starts = range(0, len(images), CHUNK)
    write_lmdb(folder, ((images[s : s + CHUNK], labels[s : s + CHUNK]) for s in starts))


WRITERS = {RELEASED: write_released, OURS: write_ours}


def write_images(variant: str, dtype: str, count: int) -> Cost:
    """Generate `count` images and write them."""
    rng = np.random.default_rng(0)
    images = np.empty((count, *SHAPE), dtype)
    for start in range(0, count, CHUNK):
        part = images[start : start + CHUNK]
        part[:] = rng.integers(256, size=part.shape, dtype=np.uint8)
    labels = rng.integers(10, size=count)
    before = peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        WRITERS[variant](Path(folder) / "lmdb", images, labels)
        seconds = time.perf_counter() - began
    return Cost({variant: seconds}, before, peak_memory())


def compare_writers(dtype: str, count: int, runs: int) -> Comparison:
    """Both ways for images of one type."""
    costs: defaultdict[str, list[Cost]] = defaultdict(list)

    def seconds(variant: str) -> float:
        costs[variant].append(in_own_process(write_images, variant, dtype, count))
        return costs[variant][-1].seconds[variant]

    measured = interleave({variant: partial(seconds, variant) for variant in WRITERS}, runs)
    details = {}
    for variant in WRITERS:
        taken = statistics.median(cost.seconds[variant] for cost in costs[variant])
        details[f"images/s, {variant}"] = count / taken
    details |= {f"peak MB, {variant}": megabytes(costs[variant]) for variant in WRITERS}
    for variant in WRITERS:
        beyond = [cost.peak - cost.before for cost in costs[variant]]
        details[f"of it MB beyond the images, {variant}"] = statistics.median(beyond) / 1e6
    name = f"{count:,} × {'×'.join(map(str, SHAPE))} {dtype} → LMDB"
    return summarize(name, measured, (RELEASED, OURS), details)


def megabytes(costs: list[Cost]) -> float:
    """The median of the peaks, in 10⁶ bytes."""
    return statistics.median(cost.peak for cost in costs) / 1e6


def element(kind: int, data: bytes) -> bytes:
    """A MAT-file's element: its type, its size, its data up to a multiple of eight bytes."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def array_head(array_class: int, dimensions: tuple[int, ...], name: bytes) -> bytes:
    """What precedes an array's values: flags, dimensions, name."""
    shape = struct.pack(f"<{len(dimensions)}i", *dimensions)
    return element(6, struct.pack("<II", array_class, 0)) + element(5, shape) + element(1, name)


def blocks(count: int) -> Iterator[bytes]:
    """`count` images of little entropy, so that they are packed quickly; all differ nearby."""
    ramp = np.arange(np.prod(SHAPE), dtype=np.uint8) // 16
    for start in range(0, count, CHUNK):
        numbers = np.arange(start, min(start + CHUNK, count))
        yield (ramp + (numbers[:, None] % 251).astype(np.uint8)).tobytes()


def write_mat(path: Path, count: int) -> None:
    """SVHN's layout: X, uint8, 32×32×3×count, and y, double, count×1, 1 to 10; both packed."""
    digits = (np.arange(count) % 10 + 1).astype("<f8")
    size = int(np.prod(SHAPE)) * count
    x_head = array_head(9, (*SHAPE[1:], SHAPE[0], count), b"X") + struct.pack("<II", 2, size)
    y_head = array_head(6, (count, 1), b"y")
    with path.open("wb") as file:
        file.write(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM")
        for head, values, total in (
            (x_head, blocks(count), len(x_head) + size),
            (y_head, iter([element(9, digits.tobytes())]), len(y_head) + 8 + digits.nbytes),
        ):
            place = file.tell()
            packer = zlib.compressobj(1)
            file.write(bytes(8) + packer.compress(struct.pack("<II", 14, total) + head))
            for block in values:
                file.write(packer.compress(block))
            file.write(packer.flush())
            end = file.tell()
            file.seek(place)
            file.write(struct.pack("<II", 15, end - place - 8))
            file.seek(end)


def stream_svhn(folder: Path) -> Cost:
    """Read the MAT-files in the folder, shuffle, and write an LMDB, as the package does."""
    logging.getLogger("data_prep").setLevel(logging.ERROR)  # the files are of unknown hashes
    before, began = peak_memory(), time.perf_counter()
    files = locate_svhn(folder, folder, None, extra=True)
    examples = read_svhn(files, folder, labels="zero")
    images, labels = examples.training, examples.training_labels
    read = time.perf_counter()
    order = np.random.default_rng(0).permutation(len(images))

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(order), CHUNK):
            part = order[start : start + CHUNK]
            yield images.take(part), labels[part]

    write_lmdb(folder / "lmdb", chunks())
    written = time.perf_counter()
    seconds = {"hash and unpack": read - began, "shuffle and write": written - read}
    return Cost(seconds, before, peak_memory())


def measure_svhn(count: int, runs: int) -> Comparison:
    """SVHN's extra set, in form and number, from MAT-file to LMDB."""
    costs = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for pin, images in ((TRAIN, 1), (TEST, 1), (EXTRA, count)):
                write_mat(folder / pin.name, images)
            costs.append(in_own_process(stream_svhn, folder))
    taken = statistics.median(sum(cost.seconds.values()) for cost in costs)
    details = {"images/s": count / taken, "peak MB": megabytes(costs)}
    details["MB of the images"] = count * float(np.prod(SHAPE)) / 1e6
    name = f"{count:,} images as SVHN's extra, MAT-file → LMDB"
    return summarize(name, [cost.seconds for cost in costs], None, details)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=5)
    options.add_argument("--images", type=positive, help="default 50,000; SVHN extra: 531,131")
    options.add_argument("--svhn-extra", action="store_true", help="only that; takes 4 GB of disk")
    args = options.parse_args()
    if args.svhn_extra:
        comparisons = [measure_svhn(args.images or SVHN_EXTRA, args.runs)]
    else:
        images = args.images or 50_000
        comparisons = [compare_writers(dtype, images, args.runs) for dtype in ("uint8", "float32")]
    show(comparisons, args.json)


if __name__ == "__main__":
    main()
