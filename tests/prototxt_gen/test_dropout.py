"""Where dropout goes, under each rule."""

import csv
import re
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


def test_ratios_on_a_ramp_rise_from_their_lowest_to_a_half() -> None:
    chain = parse("[C(64,3,1), C(64,3,1), C(64,3,1), C(64,3,1), P(2,2), FC(128), FC(128), SM(10)]")
    for rule, expected in (
        (DropoutRule.RAMP_30, ["3/10", "2/5", "2/5", "1/2"]),
        (DropoutRule.RAMP_40, ["2/5", "2/5", "1/2", "1/2"]),
    ):
        placed = place_dropout(chain, rule)
        assert [str(x.ratio) for x in placed if isinstance(x, Dropout)] == expected
    alone = place_dropout(parse("[FC(128), SM(10)]"), DropoutRule.RAMP_30)
    assert str(alone) == "[FC(128), D(5,5), SM(10)]"


def test_all_ten_published_mnist_nets_are_on_one_of_the_ramps(reference: Path) -> None:
    off, nets = [], 0
    with (reference / "paper" / "published_nets.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if not row["file"].startswith("mnist"):
                continue
            nets += 1
            ratios = [
                Fraction(text) for text in re.findall(r"D\(([\d.]+)\)", row["arch_with_dropout"])
            ]
            ramps = [
                [x.ratio for x in place_dropout(parse(row["arch"]), rule) if isinstance(x, Dropout)]
                for rule in (DropoutRule.RAMP_30, DropoutRule.RAMP_40)
            ]
            if ratios not in ramps:
                off.append(row["file"])
    assert (nets, off) == (10, [])
