"""`make docs` builds pages whose links lead somewhere and which load nothing from a network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs.site_check import faults

ROOT = Path(__file__).parents[2]

needs_sphinx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")),
    reason="the extra `docs` is not installed",
)


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build pages with the words of the Makefile's own recipe."""
    recipe = re.search(r"^docs:.*\n\t@\$\(BIN\)/python ((?:.*\\\n)*.*)$", makefile(), re.MULTILINE)
    assert recipe is not None
    words = recipe[1].replace("\\\n", " ").split()
    here = {"docs": str(docs), "build/docs": str(site), "build/docs-doctrees": f"{site}-doctrees"}
    command = [sys.executable, *(here.get(word, word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


@needs_sphinx
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    done = build(ROOT / "docs", tmp_path / "site")
    assert (done.returncode, done.stderr) == (0, "")
    built = {path.name for path in (tmp_path / "site").glob("*.html")}
    assert built >= {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")}
    commands = (tmp_path / "site" / "commands.html").read_text(encoding="utf-8")
    for told in ("reproduce-mnist", "metaqnn train-published", "--slots-per-gpu", "--onnx"):
        assert told in commands


@needs_sphinx
def test_each_fault_of_a_page_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "docs" / "faulty.md").write_text(
        "# Faulty\n\n[a](no-such-page.md) [b](data.md#no-such-heading) [c](#nor-here)\n"
        "[d](https://no-host/) [e](ftp://example.org/x) ![f](no-such-picture.svg)\n"
        "[g](https://example.org/fine)\n"
    )
    done = build(tmp_path / "docs", tmp_path / "site")
    assert done.returncode != 0
    for fault in ("no-such-page", "no-such-heading", "nor-here", "no-host", "ftp", "no-such-pict"):
        assert fault in done.stderr, fault
    assert "included in any toctree" in done.stderr
    assert "fine" not in done.stderr


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="other.html#here">', ""),
        ('<a href="folder/">', ""),
        ('<a href="#top"><p id="top">', ""),
        ('<a href="https://example.org/a?b=c#d">', ""),
        ('<link rel="canonical" href="https://example.org/">', ""),
        ('<img src="data:image/png;base64,AAAA">', ""),
        ('<a href="gone.html">', "which is not there"),
        ('<a href="other.html#there">', "nothing is called 'there'"),
        ('<a href="http://">', "is none"),
        ('<a href="http:example.org">', "is none"),
        ('<a href="https://a..b/">', "is none"),
        ('<a href="javascript:alert(1)">', "http or https"),
        ('<a href="https://example.org/a b">', "a space"),
        ('<img src="gone.png">', "which is not there"),
        ('<script src="https://example.org/x.js"></script>', "from a network"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "from a network"),
    ],
)
def test_the_check_of_a_site(body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text("")
    (tmp_path / "other.html").write_text('<h1 id="here">')
    (tmp_path / "page.html").write_text(body)
    found = list(faults(tmp_path))
    assert len(found) == bool(said)
    assert all(line.startswith("page.html: ") and said in line for line in found)


def test_a_style_sheet_may_not_load_from_a_network_either(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text('@import "b.css"; p { background: url("data:image/png,x") }')
    assert list(faults(tmp_path)) == []
    (tmp_path / "b.css").write_text("@font-face { src: url(https://example.org/f.woff2) }")
    (tmp_path / "c.css").write_text('@import "//example.org/d.css";')
    assert [line.partition(":")[0] for line in faults(tmp_path)] == ["b.css", "c.css"]
