"""HTTP: which mirrors answer, and transfers that go on where they were cut."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from urllib.response import addinfourl

from data_prep.errors import DataError

Progress = Callable[[str, int, int], None]  # what, done, total (0 if unknown)

PROBE_SECONDS = 3.0  # for all mirrors together: what dead mirrors can cost
STALL_SECONDS = 5.0  # a transfer that says nothing for so long has died


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
