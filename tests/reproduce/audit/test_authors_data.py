"""The authors' own data, against the same numbers counted another way from the raw files."""

import csv
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from prototxt_gen.dropout import DropoutRule
from reproduce.audit.authors_data.figure_3 import bars, file_order, rolling_window
from reproduce.audit.authors_data.figure_a2 import histogram_fits, panels
from reproduce.audit.authors_data.files import AuthorsData, authors_space, read_authors_data
from reproduce.audit.authors_data.nets import (
    all_nets,
    dropout_fit,
    failures,
    first_fields,
    published_in_data,
    same_run,
    space_fit,
)
from reproduce.audit.authors_data.q_values import implied_updates, q_value_counts
from reproduce.audit.authors_data.rise import published_rise
from reproduce.audit.authors_data.samples import debug_rows, stages, trainings, work
from reproduce.audit.authors_data.trainings import learning_rates, schedule, thresholds
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.results.plots.curves import PaperData, paper_search
from reproduce.search.space import SearchSpace

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def folder(reference: Path) -> Path:
    return reference / "authors-runs"


@pytest.fixture(scope="module")
def data(folder: Path) -> AuthorsData:
    return read_authors_data(folder)


def raw(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def real_rows(folder: Path) -> Rows:
    """The replay database without the rows of accuracy 86."""
    return [r for r in raw(folder / "replay_database.csv") if float(r["accuracy_best_val"]) <= 1]


def accuracies(rows: Rows, epsilon: float, column: str = "accuracy_best_val") -> list[float]:
    return [float(r[column]) for r in rows if float(r["epsilon"]) == epsilon]


def plain(net: str) -> str:
    """A net's string without dropout layers and spaces."""
    return re.sub(r"D\(\d+,\d+\),|\s", "", net.replace(" ", ""))


def first_rows(rows: Rows) -> Rows:
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["net"], row)
    return list(found.values())


def test_all_four_files_are_the_published_ones(data: AuthorsData) -> None:
    assert data.verified
    assert [len(x) for x in (data.samples, data.debug, data.cifar10, data.svhn)] == [
        1910,
        73,
        1000,
        1300,
    ]


# Figure 3.


def test_svhn_bars_of_epsilon_1_and_0_9_are_exchanged(folder: Path, data: AuthorsData) -> None:
    """The bars are the means of all samples' best accuracies, but for the first two's places."""
    found = bars(data.samples, paper_search("SVHN"))
    rows = real_rows(folder)
    means = {e: float(np.mean(accuracies(rows, e))) for e in (1.0, 0.9, 0.8)}
    assert {x.epsilon: x.best for x in found.means} == pytest.approx(means, abs=1e-12)
    assert found.exchanged == (1.0, 0.9)
    assert found.if_exchanged < 1e-4 < 1e-3 < found.as_drawn < found.last
    assert abs(means[1.0] - 0.5225) < 5e-5  # the text's 52.25 %
    published = {x.epsilon: x.published for x in found.means}
    assert published[1.0] == pytest.approx(means[0.9], abs=1e-4)
    assert published[0.9] == pytest.approx(means[1.0], abs=1e-4)


def test_bars_count_duplicates(folder: Path, data: AuthorsData) -> None:
    found = bars(data.samples, paper_search("SVHN"))
    unique = first_rows(real_rows(folder))
    for x in found.means:
        assert x.samples == x.published_samples
        assert x.best_unique == pytest.approx(np.mean(accuracies(unique, x.epsilon)))
    assert found.unique > 0.01


@pytest.mark.parametrize(
    ("name", "window", "highest"), [("SVHN", 100, 0.9532), ("CIFAR10", 30, 0.8478)]
)
def test_the_rolling_mean_is_over_100_samples_on_svhn_and_30_on_cifar10(
    name: PaperData, window: int, highest: float
) -> None:
    found = rolling_window(paper_search(name), spread=highest - 0.1)
    assert (found.starts_at, found.lag) == (window, window)
    assert found.autocorrelation < -0.45
    assert found.next_autocorrelation > -0.1
    assert window <= found.most < window + 1


def test_the_replay_database_is_not_in_the_order_of_the_line(
    folder: Path, data: AuthorsData
) -> None:
    found = file_order(data.samples, paper_search("SVHN"), np.random.default_rng(0), orders=50)
    assert found.rms[100] > found.shuffled[100][1]
    values = np.array([float(r["accuracy_best_val"]) for r in real_rows(folder)])
    totals = np.concatenate([[0.0], np.cumsum(values)])
    rolling = (totals[100:] - totals[:-100]) / 100
    line = paper_search("SVHN")
    drawn = np.interp(np.arange(99, 1910), line.iterations, line.rolling)
    assert found.rms[100] == pytest.approx(np.sqrt(np.mean((rolling - drawn) ** 2)))
    nets = [r["net"] for r in real_rows(folder)]
    assert found.duplicates == len(nets) - len(set(nets)) == 121
    assert len(set(nets[: found.distinct])) == found.distinct == 976
    assert nets[found.distinct] in nets[: found.distinct]
    assert found.runs == 6


# Figure A2.


@pytest.mark.parametrize("name", ["SVHN", "CIFAR10"])
def test_heights_of_figure_a2_are_densities(name: PaperData) -> None:
    for panel in panels(name, paper_search(name)):
        assert panel.sum > 115
        assert panel.integral == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["SVHN", "CIFAR10"])
def test_figure_a2_has_the_samples_of_figure_3_and_one_more_at_the_last_epsilon(
    name: PaperData,
) -> None:
    for panel in panels(name, paper_search(name)):
        assert panel.remainder < 0.01
        assert panel.samples == panel.figure_3_samples + (panel.epsilon == 0.1)


def test_the_share_at_chance_level_is_the_databases(folder: Path) -> None:
    rows = real_rows(folder)
    found = {panel.epsilon: panel for panel in panels("SVHN", paper_search("SVHN"))}
    for epsilon in (1.0, 0.9, 0.8):
        assert found[epsilon].chance == accuracies(rows, epsilon).count(0.1)
    assert found[0.1].chance == 12
    assert found[0.1].chance_share == 12 / 302


def test_samples_give_the_bars_with_duplicates_as_densities(
    folder: Path, data: AuthorsData
) -> None:
    for fit in histogram_fits(data.samples, "SVHN"):
        assert fit.density < 6e-4
        assert fit.percent > 1
        assert fit.unique > 1
        assert fit.best_epsilon == fit.epsilon
        values = accuracies(real_rows(folder), fit.epsilon)
        assert fit.chance == values.count(0.1) / len(values)


# The rise.


def test_nearly_all_of_svhns_rise_is_fewer_nets_at_chance_level(data: AuthorsData) -> None:
    first = [row.accuracy_best_val for row in data.samples if row.epsilon == 1.0]
    found = published_rise("SVHN", np.random.default_rng(0), first, resamples=2000)
    f0, f1 = 749 / 1615, 12 / 302
    m0 = (np.sum(first) - 74.9) / (1615 - 749)
    m1 = (0.8802 * 302 - 1.2) / 290
    rise = 0.8802 - np.mean(first)
    assert found.rise == pytest.approx(rise)
    assert found.failures_first == pytest.approx((f0 - f1) * (m0 - 0.1) / rise)
    assert found.quality_first == pytest.approx((f0 - f1) * (m1 - 0.1) / rise)
    assert found.failures_first == pytest.approx(0.934, abs=1e-3)
    assert found.quality_first == pytest.approx(0.963, abs=1e-3)
    assert 0.9 < found.failures_first_interval[0] < found.failures_first
    assert found.quality_first < found.quality_first_interval[1] < 0.98


def test_nearly_all_of_cifar10s_rise_is_better_nets() -> None:
    found = published_rise("CIFAR10", np.random.default_rng(0), resamples=2000)
    assert found.rise == pytest.approx(0.7570 - 0.5780)
    assert found.first.chance == 39 / 2032
    assert 0.04 < found.failures_first < found.quality_first < 0.08
    assert found.quality_first_interval[1] < 0.1


# Trainings.


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_learning_rates_are_those_of_five_attempts(
    folder: Path, data: AuthorsData, name: str
) -> None:
    curves = {"cifar10": data.cifar10, "svhn": data.svhn}[name]
    found = learning_rates(curves)
    counts = Counter(row["lr"] for row in raw(folder / f"metaqnn_{name}.csv"))
    assert found.counts == {float(rate): n for rate, n in counts.items()}
    assert list(found.counts) == [0.001, 0.0004, 0.00016, 0.000064, 0.000026]
    assert found.on_ladder == found.nets
    assert found.restarts == 4
    assert found.share(0.001) == {"cifar10": 0.802, "svhn": 0.22}[name]


def test_the_least_accuracies_kept_tell_the_thresholds(folder: Path, data: AuthorsData) -> None:
    for name, curves, threshold in (("cifar10", data.cifar10, 0.15), ("svhn", data.svhn, 0.27)):
        found = thresholds(curves)
        first = sorted(float(row["acc_1"]) for row in raw(folder / f"metaqnn_{name}.csv"))
        assert found.least_first == first[0]
        assert threshold < found.least_first < threshold + 0.001
        assert found.below[threshold] == 0
        assert found.just_above[threshold] == sum(x <= threshold + 0.02 for x in first) > 0


def test_the_rate_falls_after_5_10_and_15_epochs(data: AuthorsData) -> None:
    assert schedule(data.cifar10).falls == schedule(data.svhn).falls == (5, 10, 15)


# Nets.


def released_dropout(net: str) -> list[str]:
    """The dropout layers of the released rule, from its description alone."""
    layers = plain(net)[1:-1].replace("),", ");").split(";")[:-1]
    types = [x.partition("(")[0] for x in layers]
    last = types[-1] if types else ""
    gaps = types.count("GAP") + (last == "GAP")
    dense = types.count("FC") + (last == "FC")
    count = (len(layers) + 1 - gaps - dense) // 2 + dense
    found: list[str] = []
    for place, kind in enumerate(types, 1):
        if kind == "FC" or (place % 2 == 0 and kind != "GAP"):
            found.append(f"D({len(found) + 1},{count})")
    return found


def test_the_released_rule_places_the_dropout_of_all_nets(data: AuthorsData) -> None:
    nets = all_nets(data)
    found = dropout_fit(nets)
    assert found.nets == len(nets) == 3539
    assert found.reproduced[DropoutRule.RELEASED] == 3539
    assert all(re.findall(r"D\(\d+,\d+\)", net) == released_dropout(net) for net in nets)
    layers = {net: re.findall(r"(?<![A-Z])D\((\d+),(\d+)\)", net) for net in nets}
    short = sum(found[-1][0] != found[-1][1] for found in layers.values() if found)
    assert found.short_of_half == short
    assert found.nets - found.reproduced[DropoutRule.PAPER] >= short


def test_all_nets_are_of_the_authors_space_and_fc_after_r_8_are_not_of_the_papers(
    data: AuthorsData,
) -> None:
    for name, nets in (
        ("svhn", {row.net for row in (*data.samples, *data.debug)}),
        ("cifar10", {curve.net for curve in data.cifar10}),
    ):
        assert space_fit(nets, authors_space(name)).inside == len(nets)
        experiment = load_experiment(experiment_path(name), "paper", 0, "paper")
        papers = space_fit(nets, SearchSpace(experiment.space.rules(experiment.data)))
        assert 0 < papers.nets - papers.inside < 0.1 * papers.nets
        assert list(papers.reasons) == ["FC needs an R-size below 8, here it is 8"]


def test_gap_nets_fail_more_often_than_others(folder: Path, data: AuthorsData) -> None:
    rows = [r for r in first_rows(real_rows(folder)) if r["epsilon"] == "1.0"]
    found = failures(data.samples)
    for is_gap, group in ((True, found.gap), (False, found.others)):
        values = [r["accuracy_best_val"] for r in rows if ("GAP" in r["net"]) == is_gap]
        assert (group.nets, group.chance) == (len(values), values.count("0.1") / len(values))
    assert found.gap.chance > 0.8 > 0.25 > found.others.chance
    assert sum(group.nets for group in found.by_depth.values()) == len(rows)
    deep = [r["accuracy_best_val"] for r in rows if plain(r["net"]).count("),") == 12]
    assert found.by_depth[12].chance == deep.count("0.1") / len(deep)


def test_first_receptive_fields(data: AuthorsData) -> None:
    nets = [curve.net for curve in data.svhn]
    firsts = Counter(re.match(r"\[C\(\d+,(\d)", net)[1] for net in nets if net[1] == "C")  # type: ignore[index]
    assert first_fields(nets) == {int(size): n for size, n in sorted(firsts.items())}


def test_which_published_nets_the_data_holds(folder: Path, data: AuthorsData) -> None:
    found = {x.net.id: x for x in published_in_data(data)}
    assert found["cifar10/v1-1"].files == ()  # the net of 6.92 %
    assert [found[f"cifar10/v1-{k}"].rank for k in (2, 3, 4, 5)] == [4, 5, 2, 1]
    assert [found[f"cifar10/v1-{k}"].best for k in (2, 3, 4, 5)] == [0.8342, 0.8326, 0.838, 0.8432]
    assert all(found[f"svhn/v1-{k}"].files for k in range(1, 6))
    best = {
        plain(row["net"]): max(float(row[f"acc_{k}"]) for k in range(1, 21))
        for row in raw(folder / "metaqnn_svhn.csv")
    }
    for x in found.values():
        key = plain(x.net.notation)
        if x.files == ("metaqnn_svhn.csv",):
            assert x.best == best[key]
        assert ("metaqnn_svhn.csv" in x.files) == (x.net.id.startswith("svhn") and key in best)


def test_both_files_of_svhn_are_of_one_run(data: AuthorsData) -> None:
    found = same_run(data)
    assert (found.nets, found.equal, found.at_chance) == (567, 566, 0)


# Q-values.


def test_fc_states_met_in_walks_alone_never_changed(folder: Path, data: AuthorsData) -> None:
    rows = raw(folder / "q_values.csv")
    found = q_value_counts(data.q_values, authors_space("svhn"), data.samples, data.debug)
    assert found.pairs == len(rows) == 4161
    assert found.unchanged == sum(r["utility"] == "0.5" for r in rows)
    four = [
        r["utility"] for r in rows if (r["start_layer_type"], r["start_image_size"]) == ("fc", "4")
    ]
    assert found.kinds["FC 4"] == found.unchanged_kinds["FC 4"] == len(four) == 83
    assert set(four) == {"0.5"}
    aside = [
        r["utility"]
        for r in rows
        if r["start_layer_type"] in ("fc", "gap") and r["start_image_size"] != "1"
    ]
    assert found.only_in_walks == found.only_in_walks_unchanged == len(aside)
    assert found.changed_off_all == 0 < found.changed_off_samples


def test_q_values_above_1_come_from_the_debug_rows(folder: Path, data: AuthorsData) -> None:
    found = q_value_counts(data.q_values, authors_space("svhn"), data.samples, data.debug)
    above = [r for r in raw(folder / "q_values.csv") if float(r["utility"]) > 1]
    assert found.above_one == found.above_one_debug == len(above) == 22
    last = [r for r in above if r["end_terminate"] == "1"]
    assert found.above_one_last == len(last)
    ends = set()
    for row in data.debug:
        layers = plain(row.net)[1:-1].replace("),", ");").split(";")[:-1]
        kind = layers[-1].partition("(")[0].lower() if layers else "start"
        ends.add(({"c": "conv", "p": "pool"}.get(kind, kind), str(len(layers))))
    assert {(r["start_layer_type"], r["start_layer_depth"]) for r in last} <= ends


@pytest.mark.parametrize(("net", "updates"), [("[SM(10)]", 1091), ("[GAP(10), SM(10)]", 1296)])
def test_replays_were_a_third_of_the_papers(data: AuthorsData, net: str, updates: int) -> None:
    """The two nets' last pairs tell a whole number of updates each, and agree on the replays."""
    found = implied_updates(data.q_values, authors_space("svhn"), data.samples, net)
    assert found.updates == pytest.approx(updates, abs=1e-3)
    value = 0.5
    for _ in range(updates):
        value += 0.01 * (0.1 - value)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert 31 < found.per_sample < 33


# Samples.


def test_stages_against_table_2(folder: Path, data: AuthorsData) -> None:
    experiment = load_experiment(experiment_path("svhn"), "paper", 0, "paper")
    found = stages(data.samples, dict(experiment.q_learning.schedule))
    assert [(x.epsilon, x.planned, x.rows, x.new) for x in found] == [
        (1.0, 1500, 1615, 1526),
        (0.9, 100, 164, 147),
        (0.8, 100, 131, 116),
    ]
    assert [x.updates for x in found] == [(1.0,), (2.0,), (3.0,)]
    for x in found:
        nets = {r["net"] for r in real_rows(folder) if float(r["epsilon"]) == x.epsilon}
        assert x.nets == len(nets)


def test_debug_rows(data: AuthorsData) -> None:
    found = debug_rows(data.debug, data.samples)
    assert (found.rows, found.nets, found.known) == (73, 65, 11)
    assert (found.accuracies, found.epsilons) == ((86.0,), (0.7,))
    assert found.first is not None
    assert found.last is not None
    assert (found.first.date().isoformat(), found.last.date().isoformat()) == (
        "2016-10-07",
        "2016-10-08",
    )
    assert found.hosts == {"luna": 41, "hermione": 32}


def test_no_training_has_a_time_and_few_have_a_host(folder: Path, data: AuthorsData) -> None:
    found = trainings(data.samples)
    rows = real_rows(folder)
    assert found.timed == 0
    assert (len(found.hosts), found.unnamed) == (8, 1794)
    assert found.unnamed + sum(found.hosts.values()) == len(rows)
    assert found.at_chance == sum(r["accuracy_best_val"] == "0.1" for r in rows) == 884
    assert found.per_epoch == 68257 // 128
    assert (found.whole, found.cut_short) == (1007, 19)
    assert found.whole == sum(float(r["iter_last_val"]) == 20 * 533 for r in rows)


def test_the_papers_gpus_could_have_trained_these_nets(data: AuthorsData) -> None:
    found = work(data.cifar10, 45_000, 2700)
    assert found.epochs == pytest.approx(20.268)
    assert found.total == pytest.approx(3.1e19, rel=0.02)
    assert found.sustained == pytest.approx((found.total / 8.64e6, found.total / 6.912e6))
    assert math.isclose(found.flop * 2700, found.total)
