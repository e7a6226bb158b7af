"""`metaqnn data show`: what lies in the data folder, and what the net will see of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from data_prep.datasets import locate
from data_prep.prepare import prepare
from data_prep.recipes import Recipe


@pytest.fixture
def folder(tmp_path: Path, digits: Path) -> Path:
    recipe = Recipe(validation=100)
    files = locate("mnist", recipe, data_dir=digits, cache=tmp_path / "cache")
    return tmp_path / "data" / prepare(files, recipe, tmp_path / "data").folder


def test_counts_moments_and_sources_are_shown(metaqnn: Any, folder: Path) -> None:
    for named in (folder, folder.parent):
        said = metaqnn("data", "show", named)
        assert said.code == 0
        lines = [line.split() for line in said.out.splitlines()]
        assert ["records", "200", "100", "300", "100"] in lines
        assert ["class", "3", "20", "10", "30", "10"] in lines
        assert sum(line[0] in ("mean", "std") for line in lines) == 2
        assert sum(line[0] == "unverified" for line in lines) == 4
        assert "mean_file" in said.out


def test_json_has_the_same_numbers(metaqnn: Any, folder: Path) -> None:
    (manifest,) = metaqnn("data", "show", folder.parent, "--json").json
    assert manifest["databases"]["val"]["records"] == 100
    assert manifest["databases"]["val"]["per_class"]["3"] == 10


def test_the_sheet_is_a_picture_of_each_class(metaqnn: Any, folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    said = metaqnn("data", "show", folder, "--sheet", sheet, "--database", "val")
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith(f"{sheet}: val, black is ")
    height, width = imread(sheet).shape[:2]
    assert (height, width) == (10 * 29 - 1, 12 * 29 - 1)
    assert len(np.unique(imread(sheet)[:28, :28])) > 20


def test_what_cannot_be_shown_is_said_in_one_line(
    metaqnn: Any, folder: Path, tmp_path: Path, digits: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no prepared data set" in metaqnn("data", "show", empty).refusal
    sheet = ("--sheet", tmp_path / "sheet.png")
    refusal = metaqnn("data", "show", folder, *sheet, "--database", "dev").refusal
    assert "has no dev; there are: train, val" in refusal
    recipe = Recipe(validation=50)
    files = locate("mnist", recipe, data_dir=digits, cache=tmp_path / "cache")
    prepare(files, recipe, folder.parent)
    assert "name one of them" in metaqnn("data", "show", folder.parent, *sheet).refusal
    (folder / "train.lmdb" / "data.mdb").write_bytes(b"")
    assert "train.lmdb: is no LMDB of images" in metaqnn("data", "show", folder, *sheet).refusal
    assert not sheet[1].exists()
