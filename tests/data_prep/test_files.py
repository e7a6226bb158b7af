"""Archives and gzip streams from elsewhere: single members, limits, damage."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import DataError
from data_prep.files import gunzip, is_file, iterate_members, read_file, read_members


def tar(path: Path, members: dict[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


Make = Callable[[Path, dict[str, bytes]], Path]
MEMBERS = {"package/a": b"wanted", "../../evil": b"elsewhere", "/abs": b"root"}


@pytest.mark.parametrize("make", [tar, zipped])
def test_only_the_named_members_are_read_and_nothing_is_extracted(
    tmp_path: Path, make: Make
) -> None:
    archive = make(tmp_path / "archive", MEMBERS)
    assert read_members(archive, ["package/a"], limit=10) == {"package/a": b"wanted"}
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_member_over_the_limit_or_missing_is_refused(tmp_path: Path, make: Make) -> None:
    archive = make(tmp_path / "archive", {"bomb": bytes(1_000_000)})
    with pytest.raises(DataError, match="archive:bomb: larger than 999999 bytes"):
        read_members(archive, ["bomb"], limit=999_999)
    with pytest.raises(DataError, match="has no other"):
        read_members(archive, ["bomb", "other"], limit=1_000_000)


def test_a_link_is_no_file(tmp_path: Path) -> None:
    archive = tar(tmp_path / "archive", {}, link="a")
    with pytest.raises(DataError, match="has no a"):
        read_members(archive, ["a"], limit=10)
    linked = zipfile.ZipInfo("a")
    linked.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive_of_link:
        archive_of_link.writestr(linked, "/etc/passwd")
    with pytest.raises(DataError, match="has no a"):
        read_members(tmp_path / "zip", ["a"], limit=100)


TYPES = [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE,
         tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_no_special_member_passes_for_a_file(tmp_path: Path, kind: bytes) -> None:
    """Nor does one hide the file that comes after it."""
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz") as archive:
        special = tarfile.TarInfo("a")
        special.type, special.linkname = kind, "../../etc/passwd"
        archive.addfile(special)
        info = tarfile.TarInfo("b")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"file"))
    assert read_members(path, ["b"], limit=10) == {"b": b"file"}
    with pytest.raises(DataError, match="has no a"):
        read_members(path, ["a"], limit=10)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_every_layout_of_tar_is_read(tmp_path: Path, layout: int, mode: Any) -> None:
    """Also after members that only extended headers can describe, and with a prefixed name."""
    prefixed = f"{'d' * 90}/{'n' * 60}"
    members = {"a": b"3" * 512}
    if layout == tarfile.USTAR_FORMAT:
        members = {"x" * 100: b"1", prefixed: b"2" * 600} | members
    else:
        members = {"ä" * 60: b"1", "x" * 300: b"2" * 600} | members
    path = tmp_path / "archive"
    with tarfile.open(path, mode, format=layout) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5 if layout == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(content))
    wanted = ["a", *([prefixed] if prefixed in members else [])]
    assert read_members(path, wanted, limit=600) == {name: members[name] for name in wanted}


@pytest.mark.parametrize("make", [tar, zipped])
def test_members_come_one_by_one(tmp_path: Path, make: Make) -> None:
    archive = make(tmp_path / "archive", {"a": b"1", "b": b"2", "c": b"3"})
    members = iterate_members(archive, ["c", "a", "d"], limit=10)
    assert [next(members), next(members)] == [("a", b"1"), ("c", b"3")]
    with pytest.raises(DataError, match="has no d"):
        next(members)


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a"))
    with zipfile.ZipFile(tmp_path / "zip", "w") as zip_archive:
        zip_archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            zip_archive.writestr("a", b"2")
    for name in ("tar", "zip"):
        with pytest.raises(DataError, match="has a twice"):
            read_members(tmp_path / name, ["a"], limit=10)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(header("a", 1 << 50), id="wanted, of a petabyte"),
        pytest.param(header("b", 1 << 50), id="another, of a petabyte"),
        pytest.param(header("a", 1 << 30), id="wanted, of a gigabyte"),
        pytest.param(header("b", 0o77777777777) + bytes(100 << 20), id="another, larger than all"),
        pytest.param(header("b", 1 << 30, tarfile.XHDTYPE) + bytes(100 << 20), id="extended"),
        pytest.param(header("b", 0) * 200_000, id="countless members"),
        pytest.param(header("a", 4) + b"file" + bytes(508 + 1024 + (100 << 20)), id="padding"),
    ],
)
def test_absurd_sizes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(gzip.compress(content, 1))
    with pytest.raises(DataError, match=r"larger than 1000|absurd size|without its numbers"):
        read_members(path, ["a"], limit=1000)
    assert list(tmp_path.iterdir()) == [path]


def test_an_encrypted_or_oddly_packed_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "zip", {"a": b"content" * 99})
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\1\2")
    for place, value in ((at + 8, 1), (at + 10, 99)):  # flags: encrypted; method: unknown
        damaged = bytearray(content)
        damaged[place] = value
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged archive"):
            read_members(path, ["a"], limit=1000)


def test_a_checksum_that_disagrees_is_noticed(tmp_path: Path) -> None:
    """Also where the damage is in gzip's trailer alone, behind all that is needed."""
    path = tar(tmp_path / "archive", {"a": b"content"})
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged archive"):
        read_members(path, ["a"], limit=1000)


HEAD = header("a", 4) + b"file" + bytes(508)


@given(st.binary(max_size=64), st.integers(0, len(HEAD) - 1), st.booleans())
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, packed: bool
) -> None:
    content = HEAD[:place] + noise + HEAD[place + len(noise) :]
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(gzip.compress(content) if packed else content)
    with suppress(DataError):  # any other exception fails the test
        assert set(read_members(path, ["a"], limit=100)) == {"a"}


@given(st.binary(max_size=100), st.integers(0, 200))
def test_any_damage_to_a_zip_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    path = zipped(tmp_path_factory.getbasetemp() / "noise.zip", {"a": b"content" * 9})
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    with suppress(DataError):
        assert read_members(path, ["a"], limit=100) == {"a": b"content" * 9}


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_truncated_archive_is_read_right_or_refused(tmp_path: Path, make: Make) -> None:
    """A tar file may lose its padding; before the content is complete nothing is returned."""
    content = bytes(range(256)) * 40
    whole = make(tmp_path / "whole", {"a": content}).read_bytes()
    refused = 0
    for length in range(0, len(whole), 7):
        (tmp_path / "damaged").write_bytes(whole[:length])
        try:
            assert read_members(tmp_path / "damaged", ["a"], limit=20_000)["a"] == content
        except DataError:
            refused += 7
    assert refused > len(whole) // 2


def test_gzip_is_unpacked_up_to_the_limit_and_plain_content_passes() -> None:
    packed = gzip.compress(bytes(1000))
    assert gunzip(packed, "file", limit=1000) == bytes(1000)
    assert gunzip(b"plain", "file", limit=1) == b"plain"
    with pytest.raises(DataError, match="file: larger than 999 bytes"):
        gunzip(packed, "file", limit=999)
    for length in range(2, len(packed)):
        with pytest.raises(DataError, match="file: damaged gzip"):
            gunzip(packed[:length], "file", limit=1000)


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    """A hole of 100 GB takes no disk, and is not taken into memory either."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert read_file(path, 7) == b"content"
    os.truncate(path, 100_000_000_000)
    with pytest.raises(DataError, match="file: larger than 8 bytes; use the original file"):
        read_file(path, 8)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\); name one that can be"):
        read_file(tmp_path, 8)


def test_what_cannot_be_looked_up_is_no_missing_file(tmp_path: Path) -> None:
    assert not is_file(tmp_path / "gone")
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
        is_file(tmp_path / ("x" * 300))


def test_an_empty_archive_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"")
    with pytest.raises(DataError, match=r"damaged archive \(it is empty\); fetch it again"):
        read_members(tmp_path / "archive", ["a"], limit=10)
    empty = tar(tmp_path / "tar", {})
    with pytest.raises(DataError, match=f"{empty}: has no a; use the original archive"):
        read_members(empty, ["a"], limit=10)
