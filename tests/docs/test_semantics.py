"""The page on Caffe's semantics names tests that exist, and the deviations that the code names."""

import ast
import re
from pathlib import Path

import caffe_torch

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "caffe-semantics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?!---|what \|)([^|]*) \|.*\| ([^|]*) \|$", re.MULTILINE)


def test_each_test_that_the_page_names_exists() -> None:
    """Paths are below tests/conformance, as the page says."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 60
    functions: dict[str, set[str]] = {}
    for path in {path for path, _ in named}:
        source = (ROOT / "tests" / "conformance" / path).read_text(encoding="utf-8")
        body = ast.parse(source).body
        functions[path] = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assert [name for name in named if name[1] not in functions[name[0]]] == []
    assert all(name.startswith("test_") for _, name in named)


def test_each_row_of_what_caffe_does_names_a_test() -> None:
    rows = ROW.findall(PAGE.partition("## Where this engine deviates")[0])
    assert len(rows) > 40
    assert [what for what, shown in rows if ".py::" not in shown] == []


def test_the_deviations_are_those_that_the_package_names() -> None:
    listed = re.findall(r"^- ([^:]+):", caffe_torch.__doc__ or "", re.MULTILINE)
    told = [what for what, _ in ROW.findall(PAGE.partition("## Where this engine deviates")[2])]
    assert listed == told
    assert len(listed) > 10
