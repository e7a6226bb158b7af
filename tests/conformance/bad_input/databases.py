"""Malformed LMDBs, and the good one that the malformed nets read."""

from collections.abc import Callable, Iterable
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2

from tests.conformance.bad_input.fault import Fault


def _write(path: Path, values: Iterable[bytes]) -> None:
    with (
        lmdb.open(str(path), map_size=1 << 22) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, value in enumerate(values):
            transaction.put(f"{i:08d}".encode(), value)


def datum(
    label: int = 0, shape: tuple[int, int, int] = (1, 8, 8), pixels: int | None = None
) -> bytes:
    """A record of some pixels."""
    count = int(np.prod(shape)) if pixels is None else pixels
    channels, height, width = shape
    record = caffe_pb2.Datum(channels=channels, height=height, width=width, label=label)
    record.data = bytes(count)
    return bytes(record.SerializeToString())


def write_good(path: Path) -> None:
    """Eight images 1×8×8 with labels 0 to 7."""
    _write(path, [datum(i) for i in range(8)])


def _folder_of_garbage(path: Path) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"\x00garbage" * 2000)


def _truncated(path: Path) -> None:
    _write(path, [datum(i, (1, 8, 8)) for i in range(8)] + [bytes(20000)])
    whole = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(whole[:8192])


BAD = "'data'"
DATABASES: dict[str, tuple[Callable[[Path], object], Fault]] = {
    "missing": (lambda path: None, Fault("", (BAD, "bad_lmdb", "source"))),
    "a folder of something else": (lambda path: path.mkdir(), Fault("", (BAD, "bad_lmdb"))),
    "a file": (lambda path: path.write_text("x"), Fault("", (BAD, "bad_lmdb"))),
    "garbage": (_folder_of_garbage, Fault("", (BAD, "bad_lmdb"))),
    "truncated": (_truncated, Fault("", (BAD, "bad_lmdb"), "crashes")),
    "empty": (lambda path: _write(path, []), Fault("", (BAD, "bad_lmdb", "empty"), "crashes")),
    "records that are no Datum": (
        lambda path: _write(path, [b"\xff\xff\xff"] * 8),
        Fault("", (BAD, "bad_lmdb")),
    ),
    "a later record that is no Datum": (
        lambda path: _write(path, [*(datum(i) for i in range(6)), b"\xff\xff"]),
        Fault("", (BAD, "bad_lmdb"), "dies"),
    ),
    "records without pixels": (
        lambda path: _write(path, [datum(pixels=0)] * 8),
        Fault("", (BAD, "bad_lmdb"), "crashes"),
    ),
    "fewer pixels than the shape": (
        lambda path: _write(path, [datum(pixels=60)] * 8),
        Fault("", (BAD, "bad_lmdb"), "accepts"),
    ),
    "a shape that changes": (
        lambda path: _write(path, [datum(i, (1, 8, 8 + i % 2)) for i in range(8)]),
        Fault("", (BAD, "bad_lmdb")),
    ),
    "channels that change": (
        lambda path: _write(path, [datum(i, (1 + i // 4, 8, 8)) for i in range(8)]),
        Fault("", (BAD, "bad_lmdb"), "dies"),
    ),
    "a shape of nothing": (
        lambda path: _write(path, [datum(i, (0, 0, 0)) for i in range(8)]),
        Fault("", (BAD, "bad_lmdb")),
    ),
    "a label above the classes": (
        lambda path: _write(path, [datum(10 if i == 5 else i) for i in range(8)]),
        Fault("", ("label", "10", "'loss'"), "accepts"),
    ),
    "a negative label": (
        lambda path: _write(path, [datum(-1 if i == 5 else i) for i in range(8)]),
        Fault("", ("label", "-1", "'loss'"), "accepts"),
    ),
}
