"""Where dropout goes, under each rule."""

import csv
from fractions import Fraction
from pathlib import Path

import pytest

from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.notation import Dropout, parse

CHAIN = "[C(64,3,1), C(128,3,1), P(5,3), C(256,3,1), P(3,2), FC(512), FC(128), SM(10)]"


def test_the_paper_puts_the_ith_of_n_after_every_second_layer() -> None:
    placed = place_dropout(parse(CHAIN), DropoutRule.PAPER)
    assert str(placed) == (
        "[C(64,3,1), C(128,3,1), D(1,3), P(5,3), C(256,3,1), D(2,3), P(3,2), FC(512), D(3,3), "
        "FC(128), SM(10)]"
    )
    ratios = [layer.ratio for layer in placed if isinstance(layer, Dropout)]
    assert ratios == [Fraction(1, 6), Fraction(1, 3), Fraction(1, 2)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (DropoutRule.NONE, "[C(64,3,1), FC(50), GAP(10), SM(10)]"),
        (DropoutRule.AFTER_FC, "[C(64,3,1), FC(50), D(1,1), GAP(10), SM(10)]"),
        (DropoutRule.PAPER, "[C(64,3,1), FC(50), D(1,1), GAP(10), SM(10)]"),
    ],
)
def test_gap_is_never_followed_by_dropout(rule: DropoutRule, expected: str) -> None:
    assert str(place_dropout(parse("[C(64,3,1), FC(50), GAP(10), SM(10)]"), rule)) == expected


def test_placing_again_replaces_what_was_there() -> None:
    once = place_dropout(parse(CHAIN), DropoutRule.RELEASED)
    assert str(place_dropout(once, DropoutRule.NONE)) == CHAIN


def test_the_released_rule_gives_every_string_of_the_authors_runs(reference: Path) -> None:
    strings = set()
    for name in ("replay_database", "metaqnn_cifar10", "metaqnn_svhn"):
        with (reference / "authors-runs" / f"{name}.csv").open(newline="") as file:
            strings |= {row["net"] for row in csv.DictReader(file)}
    assert len(strings) > 3500
    for text in strings:
        assert str(place_dropout(parse(text), DropoutRule.RELEASED)) == text
