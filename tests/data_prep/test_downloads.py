"""Large files by path: resumed, verified, refused, first seen; a local web server serves them."""

import errno
import hashlib
import json
import logging
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from data_prep import downloads, files
from data_prep.downloads import (
    FIRST_SEEN,
    FilePin,
    Files,
    hash_file,
    obtain_file,
    pinned_files,
    user_file,
    user_files,
)
from data_prep.errors import DataError

Serve = Callable[[dict[str, bytes]], Any]
CONTENT = bytes(range(256)) * 900
OTHER = CONTENT[::-1]
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def pin(*mirrors: Any, sha256: str | None = DIGEST) -> FilePin:
    return FilePin("data.bin", len(CONTENT), sha256, tuple(mirror.url for mirror in mirrors))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_download_is_verified_and_cached(tmp_path: Path, serve: Serve) -> None:
    mirror = serve({"data.bin": CONTENT})
    steps: list[tuple[str, int, int]] = []
    path, source = obtain_file(
        pin(mirror), cache=tmp_path / "cache", progress=lambda *step: steps.append(step)
    )
    assert path.read_bytes() == CONTENT
    assert (source.name, source.sha256, source.status) == ("data.bin", DIGEST, "verified")
    assert source.origin == f"{mirror.url}data.bin"
    assert names(tmp_path / "cache") == {"data.bin"}
    assert ("download data.bin", len(CONTENT), len(CONTENT)) in steps
    mirror.asked.clear()
    path, source = obtain_file(pin(mirror), cache=tmp_path / "cache")
    assert (path.read_bytes(), source.status, source.origin) == (CONTENT, "verified", "cache")
    assert mirror.asked == []


def test_a_transfer_that_is_cut_goes_on_where_it_stopped(tmp_path: Path, serve: Serve) -> None:
    mirror = serve({"data.bin": CONTENT})
    mirror.break_after = 100_000
    path, _ = obtain_file(pin(mirror), cache=tmp_path)
    assert path.read_bytes() == CONTENT
    asked = [wanted for _, wanted in mirror.asked[1:]]  # the first asks whether it answers
    assert asked == [None, "bytes=100000-", "bytes=200000-"]
    assert names(tmp_path) == {"data.bin"}


def test_what_a_dead_mirror_sent_is_completed_by_another_in_a_later_run(
    tmp_path: Path, serve: Serve
) -> None:
    dead = serve({"data.bin": CONTENT})
    dead.break_after, dead.ranges = 1000, False
    with pytest.raises(DataError, match="cannot obtain"):
        obtain_file(pin(dead), cache=tmp_path)
    assert (tmp_path / "data.bin.part").read_bytes() == CONTENT[:1000]
    alive = serve({"data.bin": CONTENT})
    path, _ = obtain_file(pin(alive), cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert alive.asked[-1][1] == "bytes=1000-"


def test_a_leftover_of_another_file_costs_one_more_try(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"x" * 50)
    path, _ = obtain_file(pin(serve({"data.bin": CONTENT})), cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == {"data.bin"}


@pytest.mark.parametrize(
    ("content", "lengths", "reason"),
    [
        pytest.param(OTHER, True, "its SHA-256 is not the published one", id="other content"),
        pytest.param(CONTENT[:-1], True, "its size, 230399 bytes, is not", id="shorter"),
        pytest.param(CONTENT[:-1], False, "its size, 230399 bytes, is not", id="shorter, unsaid"),
        pytest.param(CONTENT + b"x", True, "more than the file has", id="longer"),
        pytest.param(bytes(9_999_999), False, "more than the file has", id="longer, unsaid"),
        pytest.param(b"", True, "no mirror answers", id="empty"),
    ],
)
@pytest.mark.parametrize("leftover", [b"", b"x" * 50, CONTENT[:50]])
def test_another_file_is_refused_and_nothing_of_it_kept(
    tmp_path: Path, serve: Serve, content: bytes, lengths: bool, reason: str, leftover: bytes
) -> None:
    mirror = serve({"data.bin": content})
    mirror.lengths = lengths
    if leftover:
        (tmp_path / "data.bin.part").write_bytes(leftover)
    with pytest.raises(DataError) as caught:
        obtain_file(pin(mirror), cache=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert reason in message
    assert "put it into a folder and name that with --data-dir or DATA_DIR" in message
    assert names(tmp_path) <= ({"data.bin.part"} if leftover and not content else set())


def test_a_mirror_that_cuts_and_lies_is_given_up(tmp_path: Path, serve: Serve) -> None:
    liar = serve({"data.bin": OTHER})
    liar.break_after = 100_000
    with pytest.raises(DataError, match="its SHA-256 is not the published one"):
        obtain_file(pin(liar), cache=tmp_path)
    assert len(liar.asked) < 10


def test_the_next_mirror_serves_where_one_lies_or_has_nothing(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    good = serve({"data.bin": CONTENT})
    path, source = obtain_file(
        pin(serve({}), serve({"data.bin": OTHER}), good), cache=tmp_path
    )  # fmt: skip
    assert path.read_bytes() == CONTENT
    assert source.origin == f"{good.url}data.bin"
    assert "refused: its SHA-256 is not the published one" in caplog.text


def test_a_damaged_cached_file_is_fetched_again(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data.bin").write_bytes(b"bitrot")
    path, _ = obtain_file(pin(serve({"data.bin": CONTENT})), cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert "damaged" in caplog.text


def test_a_file_without_a_published_hash_is_first_seen_and_then_held_to_it(
    tmp_path: Path, serve: Serve
) -> None:
    mirror = serve({"data.bin": CONTENT})
    unknown = pin(mirror, sha256=None)
    for origin in (f"{mirror.url}data.bin", "cache"):
        path, source = obtain_file(unknown, cache=tmp_path)
        assert (source.sha256, source.status, source.origin) == (DIGEST, "first-seen", origin)
    assert json.loads((tmp_path / FIRST_SEEN).read_bytes()) == {"data.bin": DIGEST}
    path.unlink()
    mirror.files["/data.bin"] = OTHER
    with pytest.raises(DataError, match="its SHA-256 is not the first seen one"):
        obtain_file(unknown, cache=tmp_path)
    assert names(tmp_path) == {FIRST_SEEN}
    mirror.files["/data.bin"] = CONTENT
    assert obtain_file(unknown, cache=tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"data.bin": 1}'])
def test_a_damaged_record_of_first_seen_files_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FIRST_SEEN).write_bytes(content)
    with pytest.raises(DataError, match=r"first_seen.json.*remove it"):
        obtain_file(pin(sha256=None), cache=tmp_path)


def test_a_disk_that_is_too_small_is_reported_before_the_download(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 100, 100))
    mirror = serve({"data.bin": CONTENT})
    with pytest.raises(DataError, match=r"download of data.bin needs 0 MB, but 0 MB are free"):
        obtain_file(pin(mirror), cache=tmp_path)
    assert mirror.asked == []


def test_a_disk_that_fills_up_is_reported_and_what_arrived_kept(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(url: str, partial: Path, *_: object, **__: object) -> None:
        partial.write_bytes(CONTENT[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "download", fill)
    mirror = serve({"data.bin": CONTENT})
    with pytest.raises(DataError, match=r"cannot be written .*No space left.*; use another cache"):
        obtain_file(pin(mirror, serve({"data.bin": CONTENT})), cache=tmp_path)
    assert (tmp_path / "data.bin.part").read_bytes() == CONTENT[:500]


LOCKED = """
import sys
from pathlib import Path
from data_prep.downloads import _alone
with _alone(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
    Path(sys.argv[1], "data.bin").write_bytes(Path(sys.argv[2]).read_bytes())
"""


def test_while_another_process_downloads_this_one_waits_and_takes_its_file(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    cache, content = tmp_path / "cache", tmp_path / "content"
    cache.mkdir()
    content.write_bytes(CONTENT)
    mirror = serve({"data.bin": CONTENT})
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(cache), str(content)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with other, ThreadPoolExecutor() as pool:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        waiting = pool.submit(obtain_file, pin(mirror), cache=cache)
        while "another process downloads into it; waiting" not in caplog.text:
            assert not waiting.done(), waiting.result()
            sleep(0.01)
        assert other.stdin is not None
        other.stdin.close()
        path, source = waiting.result()
    assert (path.read_bytes(), source.origin) == (CONTENT, "cache")
    assert mirror.asked == []


def test_where_the_disk_knows_no_locks_files_are_fetched_all_the_same(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(downloads.fcntl, "flock", flock)
    path, _ = obtain_file(pin(serve({"data.bin": CONTENT})), cache=tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file/cache: cannot be written .*; use another cache"):
        obtain_file(pin(serve({"data.bin": CONTENT})), cache=tmp_path / "file" / "cache")


def test_users_files_are_verified_or_taken_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, other, unknown = (tmp_path / name for name in ("good", "other", "unknown"))
    for path, content in ((good, CONTENT), (other, OTHER), (unknown, CONTENT)):
        path.write_bytes(content)
    assert user_file(good, pin())[1].status == "verified"
    assert caplog.records == []
    located = user_files([(good, pin()), (other, pin()), (unknown, pin(sha256=None))])
    assert [source.status for _, source in located] == ["verified", "unverified", "unverified"]
    assert located[1][1].sha256 == hashlib.sha256(OTHER).hexdigest()
    assert [path for path, _ in located] == [good, other, unknown]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "other, unknown" in record.getMessage()


def test_a_users_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: cannot be read"):
        user_file(tmp_path / "gone", pin())


def test_pinned_files_are_identified_before_anything_is_fetched(
    tmp_path: Path, serve: Serve
) -> None:
    mirror = serve({"data.bin": CONTENT})
    pinned = Files(*pinned_files([pin(mirror)], tmp_path, None))
    assert pinned.digests == (DIGEST,)
    assert (mirror.asked, names(tmp_path)) == ([], set())
    assert [source.sha256 for source in pinned.sources] == [DIGEST]
    requests = len(mirror.asked)
    assert pinned.located[0][0].read_bytes() == CONTENT
    assert len(mirror.asked) == requests  # once is enough


def test_a_file_is_hashed_in_pieces(tmp_path: Path) -> None:
    content = bytes(3 * files.PIECE + 1)
    (tmp_path / "file").write_bytes(content)
    steps: list[int] = []
    digest = hash_file(tmp_path / "file", lambda _, done, total: steps.append(done))
    assert digest == hashlib.sha256(content).hexdigest()
    assert steps == [files.PIECE, 2 * files.PIECE, 3 * files.PIECE, len(content)]
