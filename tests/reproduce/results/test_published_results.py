"""The printed errors, against the reference material's record of each version of the paper."""

import re
from pathlib import Path

import pytest

from reproduce.published_results import ERRORS, errors_of, nets_by_table, reported_nets

SETS = ("cifar10", "svhn", "mnist", "cifar100")
Numbers = dict[tuple[str, str, str], float]


@pytest.fixture(scope="module")
def paper(reference: Path) -> str:
    """What is known of the paper's numbers."""
    return (reference / "paper" / "paper.md").read_text(encoding="utf-8")


def in_file(table: str) -> Numbers:
    """The file's rows of a table: (row, data set, version) and error."""
    rows = [one for one in ERRORS if one.table == table]
    found = {(one.what, one.data, one.version): one.error for one in rows}
    assert len(found) == len(rows)
    return found


def each(what: str, values: str, version: str = "all versions") -> Numbers:
    """Errors written as 9.38/2.47/-/38.57, in the order of `SETS`; a dash is none."""
    return {
        (what, data, version): float(value)
        for data, value in zip(SETS, values.split("/"), strict=False)
        if value != "-"
    }


def test_table_3_is_as_printed(paper: str) -> None:
    text = paper[paper.index("### Table 3") : paper.index("### Table 4")]
    expected: Numbers = {}
    for line in text.splitlines():
        if not re.match(r"\| [A-Z]", line):
            continue
        what, *values = [cell.strip(" *") for cell in line.strip("|").split("|")]
        for data, value in zip(SETS, values, strict=False):
            if versions := re.fullmatch(r"V1 ([\d.]+) / VI,TH ([\d.]+)", value):
                expected[what, data, "first version"] = float(versions[1])
                expected[what, data, "later revision"] = float(versions[2])
            elif value != "-":
                expected[what, data, "all versions"] = float(value)
    assert len(expected) == 25
    assert in_file("3") == expected


def test_table_4_is_as_printed(paper: str) -> None:
    said = re.search(r"### Table 4 adds: (.*?)\. TH adds (\S+) (\S+)\.", paper)
    assert said
    expected = each(said[2], said[3], "thesis")
    for row in said[1].split("; "):
        what, _, values = row.rpartition(" ")
        expected |= each(what, values)
    assert len({what for what, _, _ in expected}) == 7
    assert in_file("4") == expected


def test_table_5_is_as_printed(paper: str) -> None:
    said = re.search(
        r"### Table 5 .*: scratch (.*) \(CIFAR-100/SVHN/MNIST\); finetuning (.*); "
        r"SOTA (.*?)\. Same",
        paper,
    )
    assert said
    rows = ("MetaQNN (from scratch)", "MetaQNN (fine-tuned)", "state of the art")
    order = ("cifar100", "svhn", "mnist")
    expected = {
        (what, data, "all versions"): float(value)
        for what, values in zip(rows, said.groups(), strict=True)
        for data, value in zip(order, values.split(" / "), strict=True)
    }
    assert in_file("5") == expected


def test_the_texts_numbers_are_as_printed(paper: str) -> None:
    said = re.search(
        r"vs automated design: 6\.92 vs ([\d.]+) \(Bergstra 2011, CIFAR-10\); "
        r"MNIST V1 0\.38 / VI,TH 0\.32 vs ([\d.]+) \(Verbancsics & Harguess\)",
        paper,
    )
    ten = re.search(r"MNIST ensemble of 10 = ([\d.]+)%.*\| VI, TH \|", paper)
    assert said
    assert ten
    assert in_file("text") == {
        ("Bergstra et al. 2011", "cifar10", "all versions"): float(said[1]),
        ("Verbancsics & Harguess", "mnist", "all versions"): float(said[2]),
        ("MetaQNN (ensemble of ten)", "mnist", "later revision"): float(ten[1]),
    }


HEADLINES = {
    ("cifar10", "top model", "all versions", 6.92),
    ("cifar10", "ensemble", "all versions", 7.32),
    ("svhn", "top model", "all versions", 2.28),
    ("svhn", "ensemble", "all versions", 2.06),
    ("mnist", "top model", "first version", 0.41),
    ("mnist", "top model", "later revision", 0.44),
    ("mnist", "ensemble", "first version", 0.38),
    ("mnist", "ensemble", "later revision", 0.32),
}


def test_the_headline_results_are_table_3s() -> None:
    assert {
        (one.data, one.what.removeprefix("MetaQNN (").rstrip(")"), one.version, one.error)
        for one in ERRORS
        if one.table == "3" and one.what.startswith("MetaQNN") and one.data != "cifar100"
    } == HEADLINES


def test_each_id_is_unique_and_only_metaqnns_rows_are_measured() -> None:
    assert len({one.id for one in ERRORS}) == len(ERRORS)
    for one in ERRORS:
        assert bool(one.measured_as) == one.what.startswith("MetaQNN"), one.id


def test_table_4_repeats_metaqnns_rows_of_table_3() -> None:
    ours = [one for one in errors_of("4", "svhn") if one.measured_as]
    assert [one.error for one in ours] == [2.06, 2.28]


def test_table_5_concerns_the_cifar10_experiments_alone() -> None:
    assert len(errors_of("5", "cifar10")) == 9
    assert errors_of("5", "mnist") == errors_of("5", "svhn") == []


@pytest.mark.parametrize(
    ("id_", "nets"),
    [
        ("3/cifar10/top-model", ["cifar10/v1-1", "cifar10/thesis-1"]),
        ("3/svhn/top-model", ["svhn/v1-2", "svhn/thesis-2"]),  # best on validation, not on test
        ("3/mnist/top-model-first", ["mnist/v1-1"]),
        ("3/mnist/top-model-later", ["mnist/thesis-6", "mnist/thesis-7"]),  # the text says no more
        ("3/cifar10/ensemble", []),
    ],
)
def test_the_reported_net_is_that_of_the_same_error_and_version(id_: str, nets: list[str]) -> None:
    (error,) = [one for one in ERRORS if one.id == id_]
    assert [net.id for net in reported_nets(error)] == nets


def test_nets_that_are_in_no_table_come_last() -> None:
    places = list(nets_by_table("cifar10"))
    assert places == ["first version, Table A2", "thesis, Table A.1", ""]
