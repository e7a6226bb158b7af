"""Reading what others packed: hashes, gzip with a limit, and single members of archives.

Nothing is ever extracted to disk: members are asked for by their exact names, read into memory
and limited in size, so that an archive can neither write elsewhere nor fill the machine.
"""

import gzip
import hashlib
import os
import tarfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Protocol

from data_prep.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"


def sha256(content: bytes) -> str:
    """The SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _read(stream: _Stream, origin: str, limit: int) -> bytes:
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


def read_members(archive: Path, names: list[str], *, limit: int) -> dict[str, bytes]:
    """The regular files of exactly these names in a .zip (or wheel) or a .tar of any compression.

    Raises DataError if one is missing, is no regular file or exceeds `limit` bytes, or if the
    archive is damaged.
    """
    found: dict[str, bytes] = {}
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for name in set(names) & set(zipped.namelist()):
                    with zipped.open(name) as stream:
                        found[name] = _read(stream, f"{archive.name}:{name}", limit)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.name in names and member.isfile():
                        stream_or_none = tar.extractfile(member)
                        if stream_or_none is not None:
                            origin = f"{archive.name}:{member.name}"
                            found[member.name] = _read(stream_or_none, origin, limit)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive}: damaged archive ({error}); fetch it again") from error
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{archive.name}: has no {missing[0]}; its layout must have changed")
    return found


def write_atomically(path: Path, content: bytes) -> None:
    """Write the whole file under a temporary name in the same folder, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
