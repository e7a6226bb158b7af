"""Archives and gzip streams from elsewhere: single members, limits, damage."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.files import gunzip, read_members, write_atomically


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


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, None)  # type: ignore[arg-type]
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]
