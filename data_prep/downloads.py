"""Files too large for memory: the user's own, those in the cache, and those that mirrors serve.

They are handled by path and hashed in pieces. A download goes on where it was cut, and only
becomes the cached file once its size and its SHA-256 are the published ones; where no SHA-256
is published, the first download's is recorded beside it and asked of every later one.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from data_prep.errors import DataError
from data_prep.files import PIECE, is_file, require_space, unreadable
from data_prep.manifest import SourceFile
from data_prep.temporary import write_atomically
from data_prep.transfer import Progress, download, reachable

log = logging.getLogger("data_prep")

FIRST_SEEN = "first_seen.json"  # in the cache: the hashes of files for which none is published


@dataclass(frozen=True)
class FilePin:
    """A file that is known exactly: its name, size in bytes and SHA-256 as it is served.

    `sha256` is None where none has been published. `mirrors` are folders, as URLs that end
    in a slash, from which `name` is fetched; without them the file can only be the user's.
    """

    name: str
    size: int
    sha256: str | None
    mirrors: tuple[str, ...] = ()


Status = Literal["verified", "unverified", "first-seen"]  # as SourceFile has it
Located = tuple[Path, SourceFile]  # the file on the disk, and its record for the manifest


@dataclass(frozen=True)
class Files:
    """The files of a data set: their hashes at once, the files when they are first asked for.

    `digests` (SHA-256) identify the data set, so that a preparation can be found finished
    before anything is downloaded.
    """

    digests: tuple[str, ...]
    obtain: Callable[[], list[Located]]

    @cached_property
    def located(self) -> list[Located]:
        """The verified files; the first use may download them, and raises DataError."""
        return self.obtain()

    @property
    def sources(self) -> list[SourceFile]:
        """The files' records for the manifest; as `located`."""
        return [source for _, source in self.located]


def hash_file(path: Path, progress: Progress | None = None) -> str:
    """The SHA-256 of a file of any size; raises DataError if it cannot be read."""
    digest, done = hashlib.sha256(), 0
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                done += len(piece)
                if progress:
                    progress(f"check {path.name}", done, total)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def user_files(
    chosen: Sequence[tuple[Path, FilePin]], progress: Progress | None = None
) -> list[Located]:
    """The user's files, any content: those of another hash are `unverified`, with one warning.

    Raises DataError if one cannot be read.
    """
    located: list[Located] = []
    for path, pin in chosen:
        digest = hash_file(path, progress)
        status: Status = "verified" if digest == pin.sha256 else "unverified"
        located.append((path, SourceFile(pin.name, digest, status, f"user file {path.name}")))
    warn_unverified(located)
    return located


def warn_unverified(located: Sequence[Located]) -> None:
    """Name the unverified files, if there are any, in one warning."""
    if unverified := [path for path, source in located if source.status == "unverified"]:
        log.warning(
            "%s: SHA-256 is no published one: %s; used all the same",
            unverified[0].parent, ", ".join(path.name for path in unverified),
        )  # fmt: skip


def user_file(path: Path, pin: FilePin, progress: Progress | None = None) -> Located:
    """One file of the user's; as `user_files`."""
    return user_files([(path, pin)], progress)[0]


def _first_seen(cache: Path) -> dict[str, str]:
    """The recorded hashes by file name; raises DataError if the record is damaged."""
    path = cache / FIRST_SEEN
    if not is_file(path):
        return {}
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it") from error
    if not isinstance(record, dict) or not all(isinstance(v, str) for v in record.values()):
        raise DataError(f"{path}: is no table of hashes; remove it")
    return record


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _from_mirror(
    pin: FilePin, url: str, partial: Path, expected: str | None, progress: Progress | None
) -> str:
    """Fetch into `partial` the file of the pinned size and the expected hash; returns its hash.

    A transfer that breaks is taken up again for as long as each try brings bytes. Raises
    OSError or HTTPException once one does not, and DataError if the content is another.
    """
    leftover = partial.is_file()  # of an earlier run, perhaps of another file
    while True:
        start = _size(partial)
        try:
            download(url, partial, progress, limit=pin.size)
        except (OSError, HTTPException) as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            if full or _size(partial) <= start:
                raise
            continue
        if start < _size(partial) < pin.size:
            continue
        if _size(partial) == pin.size:
            digest = hash_file(partial, progress)
            if digest == (expected or digest):
                return digest
        wrong = _size(partial)
        partial.unlink(missing_ok=True)
        if not leftover:
            what = "SHA-256" if wrong == pin.size else f"size, {wrong} bytes,"
            seen = "published" if pin.sha256 or wrong != pin.size else "first seen"
            raise DataError(f"refused: its {what} is not the {seen} one")
        leftover = False


class NotServedError(DataError):
    """No mirror serves a file with the right content; `reasons` tells what each one does."""

    def __init__(self, name: str, reasons: str) -> None:
        super().__init__(
            f"cannot obtain {name} ({reasons}); put it into a folder and name that with "
            "--data-dir or DATA_DIR"
        )
        self.reasons = reasons


@contextmanager
def writing_cache(cache: Path) -> Iterator[None]:
    """What goes wrong with the cache, as a DataError that names it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{cache}: cannot be written ({error}); use another cache") from error


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Keeps other processes from downloading into the cache, where its disk knows locks."""
    descriptor = os.open(cache, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("%s: another process downloads into it; waiting for its end", cache)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # as on some network disks
            log.debug("%s: cannot be locked", cache)
        yield
    finally:
        os.close(descriptor)


def _cached(
    pin: FilePin, cache: Path, expected: str | None, progress: Progress | None
) -> str | None:
    """The SHA-256 of the cached file, if that is the expected one; another file is removed."""
    path = cache / pin.name
    if not is_file(path):
        return None
    digest = hash_file(path, progress)
    if digest == (expected or digest):
        return digest
    log.warning("%s: damaged; removed and fetched again", path)
    path.unlink()
    return None


def _fetch(
    pin: FilePin, cache: Path, expected: str | None, progress: Progress | None
) -> tuple[str, str]:
    """Fetch the file into the cache; returns its SHA-256 and its URL.

    Raises NotServedError, DataError if the disk is too small, and OSError if it is full.
    """
    partial = cache / f"{pin.name}.part"
    require_space(cache, pin.size - _size(partial), f"the download of {pin.name}")
    failures: list[str] = []
    for mirror in reachable(pin.mirrors, pin.name):
        url = mirror + pin.name
        try:
            digest = _from_mirror(pin, url, partial, expected, progress)
        except (DataError, OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.warning("%s: %s", url, error)
            failures.append(f"{url}: {error}")
            continue
        partial.replace(cache / pin.name)
        return digest, url
    raise NotServedError(pin.name, "; ".join(failures) or "no mirror answers")


def obtain_file(pin: FilePin, *, cache: Path, progress: Progress | None = None) -> Located:
    """The file in `cache`, fetched there from the first mirror that has it if need be.

    Its status is `verified`, or `first-seen` if the pin has no SHA-256. While another process
    downloads into the cache, this one waits. Raises NotServedError, with
    what was tried and what to put where, if no mirror serves the right content (nothing else
    is kept, but for the beginning of a transfer that was cut), and DataError if the cache cannot
    be written or its disk is full.
    """
    record = _first_seen(cache)
    expected, origin = pin.sha256 or record.get(pin.name), "cache"
    with writing_cache(cache):
        if (digest := _cached(pin, cache, expected, progress)) is None:
            cache.mkdir(parents=True, exist_ok=True)
            with _alone(cache):
                digest = _cached(pin, cache, expected, progress)
                if digest is None:
                    digest, origin = _fetch(pin, cache, expected, progress)
        if pin.sha256 is None and record.get(pin.name) != digest:
            content = json.dumps(record | {pin.name: digest}, indent=2, sort_keys=True)
            write_atomically(cache / FIRST_SEEN, content.encode() + b"\n")
    status: Status = "first-seen" if pin.sha256 is None else "verified"
    return cache / pin.name, SourceFile(pin.name, digest, status, origin)


def pinned_files(
    pins: Sequence[FilePin], cache: Path, progress: Progress | None
) -> tuple[tuple[str, ...], Callable[[], list[Located]]]:
    """(digests, obtain) of `Files` for pins that all have a SHA-256: nothing is fetched yet."""
    digests = tuple(pin.sha256 for pin in pins if pin.sha256 is not None)
    return digests, lambda: [obtain_file(pin, cache=cache, progress=progress) for pin in pins]
