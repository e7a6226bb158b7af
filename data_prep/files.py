"""Reading what others packed: hashes, gzip with a limit, and single members of archives.

Nothing is ever extracted to disk: members are asked for by their exact names, read into memory
and limited in size, so that an archive can neither write elsewhere nor fill the machine.
"""

import gzip
import hashlib
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import Protocol

from data_prep.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
PIECE = 1 << 20  # bytes read at a time where a file may be larger than memory

_BLOCK = 512  # of a .tar
_REGULAR = (b"0", b"\0", b"7")  # type flags of a .tar's files
_DATALESS = (b"1", b"2", b"3", b"4", b"5", b"6")  # its links, devices, folders and pipes


def sha256(content: bytes) -> str:
    """The SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def unreadable(path: Path, error: OSError) -> DataError:
    """The error that a file or folder cannot be read."""
    return DataError(
        f"{path}: cannot be read ({error.strerror}); name one that can be, or correct its "
        "permissions"
    )


def is_file(path: Path) -> bool:
    """Whether there is such a file; raises DataError where that cannot be found out."""
    try:
        return path.is_file()
    except OSError as error:
        raise unreadable(path, error) from error


def read_file(path: Path, limit: int) -> bytes:
    """A file's content; raises DataError if it is unreadable or has more than `limit` bytes."""
    try:
        with path.open("rb") as file:
            return _read(file, str(path), limit)
    except OSError as error:
        raise unreadable(path, error) from error


def require_space(folder: Path, size: int, what: str) -> None:
    """Raise DataError unless the disk of `folder` has `size` bytes free for `what`."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"{folder}: {what} needs {size / 1e6:.0f} MB, but {free / 1e6:.0f} MB are free; "
            "free some space or choose a folder on another disk"
        )


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _read(stream: _Stream, origin: str, limit: int) -> bytes:
    """All of a stream; raises DataError if that is more than `limit` bytes."""
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{origin}: larger than {limit} bytes; use the original file")
    return content


def gunzip(content: bytes, origin: str, *, limit: int) -> bytes:
    """`content` unpacked if it is gzip, else unchanged.

    Raises DataError if the stream is damaged or unpacks to more than `limit` bytes.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        with gzip.GzipFile(fileobj=BytesIO(content)) as stream:
            return _read(stream, origin, limit)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{origin}: damaged gzip ({error}); fetch the file again") from error


class _Tar:
    """A .tar as a stream of headers and data, of which at most `budget` bytes are read.

    It knows plain names and regular files, all that is ever asked for; what else there is
    (folders, links, extended headers) is passed over unseen.
    """

    def __init__(self, stream: _Stream, budget: int) -> None:
        self.stream = stream
        self.budget = budget

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or fewer if the stream ends."""
        self.budget -= size
        if self.budget < 0:
            raise ValueError("it unpacks to an absurd size")
        return self.stream.read(size)

    def exactly(self, size: int) -> bytes:
        content = self.read(size)
        if len(content) != size:
            raise EOFError("it is cut off")
        return content

    def skip(self, size: int) -> None:
        for start in range(0, size, PIECE):
            self.exactly(min(PIECE, size - start))

    def header(self) -> tuple[str, bytes, int] | None:
        """The next member's name, type flag and size of data; None after the last."""
        block = self.read(_BLOCK)
        if not block.strip(b"\0"):
            return None
        total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
        if len(block) != _BLOCK or total != _octal(block[148:156]):
            raise ValueError("no tar header where one should be")
        name, flag = _text(block[:100]), block[156:157]
        if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
            name = f"{prefix}/{name}"
        return name, flag, 0 if flag in _DATALESS else _octal(block[124:136])


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace")


def _octal(field: bytes) -> int:
    """A number of a .tar header; one in binary, for 8 GB and more, is refused."""
    digits = field.rstrip(b"\0 ").lstrip(b" ")
    if digits.strip(b"01234567"):
        raise ValueError("a tar header without its numbers")
    return int(digits or b"0", 8)


def _tar_members(
    stream: _Stream, origin: str, names: Collection[str], limit: int
) -> Iterator[tuple[str, bytes]]:
    tar = _Tar(stream, budget=8 * limit + (64 << 20))
    while (header := tar.header()) is not None:
        name, flag, size = header
        padding = -size % _BLOCK
        if name in names and flag in _REGULAR:
            if size > limit:
                raise DataError(
                    f"{origin}:{name}: larger than {limit} bytes; use the original file"
                )
            yield name, tar.exactly(size)
            tar.skip(padding)
        else:
            tar.skip(size + padding)
    while tar.read(_BLOCK):  # padding, and at its end the checksum of the compression
        pass


def _zip_members(archive: Path, names: Collection[str], limit: int) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            if member.filename in names and not stat.S_ISLNK(member.external_attr >> 16):
                with zipped.open(member) as stream:
                    origin = f"{archive.name}:{member.filename}"
                    yield member.filename, _read(stream, origin, limit)


def _members(archive: Path, names: Collection[str], limit: int) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive, names, limit)
        return
    with archive.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        yield from _tar_members(stream, archive.name, names, limit)


def iterate_members(
    archive: Path, names: Collection[str], *, limit: int
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the regular files of exactly these names, one by one as they come.

    `archive` is a .zip (or wheel) or a .tar, plain or .gz. Raises DataError if a member exceeds
    `limit` bytes, is there twice, is no regular file or, known at the end, is missing, and if
    the archive is damaged or unpacks to several times what it should.
    """
    missing = list(names)
    try:
        if not archive.stat().st_size:
            raise EOFError("it is empty")
        for name, content in _members(archive, names, limit):
            if name not in missing:
                raise DataError(f"{archive}: has {name} twice; use the original file")
            missing.remove(name)
            yield name, content
    # what the standard library raises on damaged, encrypted and crafted archives
    except (
        zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, struct.error,
        ValueError, LookupError, OverflowError, RuntimeError,
    ) as error:  # fmt: skip
        raise DataError(f"{archive}: damaged archive ({error}); fetch it again") from error
    if missing:
        raise DataError(f"{archive}: has no {missing[0]}; use the original archive")


def read_members(archive: Path, names: Collection[str], *, limit: int) -> dict[str, bytes]:
    """The contents of exactly these members by name; raises as `iterate_members`."""
    return dict(iterate_members(archive, names, limit=limit))
