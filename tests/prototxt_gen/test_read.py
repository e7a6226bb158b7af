"""Prototxt back into an architecture."""

import csv
from pathlib import Path

import pytest

from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.net import Activation, DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.read import ReadError, read_net
from prototxt_gen.shapes import GapForm, Padding, total_cost

CHAINS = (
    "[C(64,3,1), C(128,5,1), P(2,2), C(64,1,1), P(3,2), FC(128), FC(128), SM(10)]",
    "[C(64,3,1), P(5,3), GAP(10), SM(10)]",
    "[SM(10)]",
)


@pytest.mark.parametrize("text", CHAINS)
@pytest.mark.parametrize("gap", list(GapForm))
@pytest.mark.parametrize("rule", [DropoutRule.PAPER, DropoutRule.RELEASED, DropoutRule.NONE])
def test_what_was_written_is_read_back(text: str, gap: GapForm, rule: DropoutRule) -> None:
    chain = place_dropout(parse(text), rule)
    style = NetStyle(Padding.SAME, Activation.ELU, gap)
    assert read_net(net_text(chain, (1, 28, 28), DataSource("a", "b"), style, "net")) == chain


def test_the_published_prototxts_are_the_nets_of_the_tables(reference: Path) -> None:
    with (reference / "paper" / "published_nets.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 21
    for row in rows:
        text = (reference / "published" / "prototxt" / f"{row['file']}.prototxt").read_text()
        chain = read_net(text)
        assert str(chain.without_dropout()) == row["arch"]
        image = (1, 28, 28) if row["file"].startswith("mnist") else (3, 32, 32)
        assert total_cost(chain, image, gap=GapForm.RELEASED).parameters == int(row["params_total"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layer { nam: 'x' }", "no net prototxt"),
        ("layer { name: 'bn1' type: 'BatchNorm' }", "layer bn1: type BatchNorm has no notation"),
        (
            "layer { name: 'c' type: 'Convolution' convolution_param { kernel_size: [1, 3] } }",
            "layer c: kernel_size differs",
        ),
        ("name: 'empty'", "net 'empty': an architecture ends in SM"),
    ],
)
def test_what_has_no_notation_is_named(text: str, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        read_net(text)
