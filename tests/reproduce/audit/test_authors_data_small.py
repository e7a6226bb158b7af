"""What the functions over the authors' data do with data made up for the purpose."""

import dataclasses
import hashlib
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import DataError
from reproduce.audit.authors_data import files
from reproduce.audit.authors_data.figure_3 import bars, file_order, rolling_window
from reproduce.audit.authors_data.figure_a2 import accuracies_of_bars, samples_of_bars
from reproduce.audit.authors_data.files import (
    CURVE_COLUMNS,
    LearningCurve,
    fetch,
    locate,
    read_curves,
)
from reproduce.audit.authors_data.nets import dropout_fit, failures, space_fit
from reproduce.audit.authors_data.q_values import implied_updates, q_value_counts
from reproduce.audit.authors_data.rise import decompose
from reproduce.audit.authors_data.samples import debug_rows, stages, trainings, work
from reproduce.audit.authors_data.trainings import learning_rates, schedule, thresholds
from reproduce.results.plots.curves import Bar, PaperSearch
from reproduce.search.released_files import (
    QRow,
    ReleasedFileError,
    ReleasedQValues,
    ReplayRow,
    released_pairs,
)
from reproduce.search.space import SearchSpace, SpaceRules

NETS = ("[SM(10)]", "[GAP(10), SM(10)]", "[C(64,1,1), SM(10)]", "[C(64,3,1), GAP(10), SM(10)]")


def row(net: str, best: float, epsilon: float = 1.0, **other: float | str) -> ReplayRow:
    values = {"iter_best_val": 0.0, "accuracy_last_val": best, "iter_last_val": 0.0} | other
    blank = ReplayRow(net, best, 0.0, best, 0.0, -1.0, -1.0, 1.0, epsilon, 0.0, "unknown")
    return dataclasses.replace(blank, **values)  # type: ignore[arg-type]


def curve(
    net: str = NETS[2], rate: float = 0.001, first: float = 0.5, last: float = 0.6
) -> LearningCurve:
    return LearningCurve(net, rate, (first, *[last] * 19), 0, 1)


def figure(heights: dict[float, tuple[int, float]], line: list[float], begin: int) -> PaperSearch:
    """A figure of bars (samples, height) per ε, and a line from the sample `begin` on."""
    means, start = {}, 0
    for epsilon, (count, height) in heights.items():
        means[epsilon] = Bar(start, start + count, height)
        start += count
    return PaperSearch(means, tuple(float(begin + i) for i in range(len(line))), tuple(line))


# Files.


def table(folder: Path, rows: list[list[str]], header: tuple[str, ...] = CURVE_COLUMNS) -> Path:
    path = folder / "curves.csv"
    path.write_text("\n".join(",".join(cells) for cells in [list(header), *rows]) + "\n")
    return path


def cells(net: str = '"[C(64,1,1), SM(10)]"', **other: str) -> list[str]:
    good = {"net": net, "training_dataset": "svhn", "num_params": "7", "depth": "1", "lr": "0.001"}
    return [(good | other).get(column, "0.5") for column in CURVE_COLUMNS]


def test_curves_are_read_as_they_stand(tmp_path: Path) -> None:
    (found,) = read_curves(table(tmp_path, [cells(acc_1="0.25", acc_20="0.75")]), "svhn")
    assert found == LearningCurve("[C(64,1,1), SM(10)]", 0.001, (0.25, *[0.5] * 18, 0.75), 7, 1)
    assert found.best == 0.75


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([cells(acc_3="1.5")], "line 2, column acc_3: 1.5 is not in"),
        ([cells(), cells(lr="fast")], "line 3, column lr: expected a number"),
        ([cells(net='"[C(64,1), SM(10)]"')], "line 2, column net"),
        ([cells(training_dataset="cifar10")], "'cifar10' is not 'svhn'"),
        ([cells()[:-1]], "line 2: 24 cells, not 25"),
        ([cells(acc_1="nan")], "column acc_1"),
    ],
)
def test_a_bad_row_is_named_by_line_and_column(
    tmp_path: Path, rows: list[list[str]], named: str
) -> None:
    with pytest.raises(ReleasedFileError, match=named):
        read_curves(table(tmp_path, rows), "svhn")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleasedFileError, match="line 1: the columns are not net,"):
        read_curves(table(tmp_path, [], header=CURVE_COLUMNS[::-1]), "svhn")


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_curves_or_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.csv")
        for prefix in (b"", ",".join(CURVE_COLUMNS).encode() + b"\n"):
            path.write_bytes(prefix + content)
            said = ""
            try:
                read_curves(path, "svhn")
            except ReleasedFileError as error:
                said = str(error)
            assert "\n" not in said


ACCURACIES = st.lists(st.integers(0, 10_000).map(lambda x: x / 10_000), min_size=20, max_size=20)


@given(written=st.lists(st.tuples(st.sampled_from(NETS), ACCURACIES), max_size=3))
@settings(max_examples=40, deadline=None)
def test_any_curves_read_back_as_written(written: list[tuple[str, list[float]]]) -> None:
    rows = [
        cells(f'"{net}"', **{f"acc_{k}": repr(x) for k, x in enumerate(found, 1)})
        for net, found in written
    ]
    with tempfile.TemporaryDirectory() as folder:
        read = read_curves(table(Path(folder), rows), "svhn")
    assert [(x.net, list(x.accuracies)) for x in read] == written


def small_pins(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Pins of four small files; returns their contents by name."""
    contents = {pin.name: f"content of {pin.name}".encode() for pin in files.PINS}
    pins = tuple(
        dataclasses.replace(pin, size=len(x), sha256=hashlib.sha256(x).hexdigest(), mirrors=())
        for pin, x in zip(files.PINS, contents.values(), strict=True)
    )
    monkeypatch.setattr(files, "PINS", pins)
    return contents


def test_files_are_found_by_name_or_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = small_pins(monkeypatch)
    (tmp_path / "q_values.csv").write_bytes(b"another content")
    (tmp_path / "renamed").write_bytes(contents["replay_database.csv"])
    assert {name: path.name for name, path in locate(tmp_path).items()} == {
        "q_values.csv": "q_values.csv",
        "replay_database.csv": "renamed",
    }


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no replay_database\.csv, q_values\.csv, metaqnn"):
        files.read_authors_data(tmp_path)
    with pytest.raises(DataError, match="nowhere: No such file"):
        files.read_authors_data(tmp_path / "nowhere")


def test_fetching_leaves_files_that_are_there_and_says_what_to_do_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pins(monkeypatch)
    (tmp_path / "q_values.csv").write_bytes(b"the user's own")
    with pytest.raises(DataError, match=r"put replay_database\.csv, metaqnn_cifar10\.csv, metaqnn"):
        fetch(tmp_path)
    assert (tmp_path / "q_values.csv").read_bytes() == b"the user's own"


def test_what_is_fetched_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer is put in the network's place; a mirror's other content is refused."""
    contents = small_pins(monkeypatch)
    mirrored = tuple(dataclasses.replace(x, mirrors=("https://mirror/",)) for x in files.PINS)
    monkeypatch.setattr(files, "PINS", mirrored)
    monkeypatch.setattr("data_prep.downloads.reachable", lambda mirrors, _: list(mirrors))

    def download(url: str, partial: Path, progress: object, *, limit: int) -> None:
        partial.write_bytes(contents[url.rpartition("/")[2]])

    monkeypatch.setattr("data_prep.downloads.download", download)
    found = fetch(tmp_path / "new")
    assert [x.status for x in found] == ["verified"] * 4
    assert {x.name: (tmp_path / "new" / x.name).read_bytes() for x in found} == contents
    contents["q_values.csv"] = b"X" * len(contents["q_values.csv"])
    with pytest.raises(DataError, match="SHA-256 is not the published one"):
        fetch(tmp_path / "other")
    assert not (tmp_path / "other" / "q_values.csv").exists()


# Figures.


def test_an_exchange_of_bars_is_found_and_none_where_none_helps() -> None:
    rows = [row(net, x, e) for e, x, net in ((1.0, 0.2, NETS[0]), (0.9, 0.4, NETS[1]))]
    rows += [row(NETS[2], 0.8, 0.8)]
    exchanged = figure({1.0: (1, 0.2), 0.9: (1, 0.8), 0.8: (1, 0.4)}, [0.5], 0)
    found = bars(rows, exchanged)
    assert (found.exchanged, found.if_exchanged) == ((0.9, 0.8), 0)
    assert found.as_drawn == pytest.approx(0.4)
    right = figure({1.0: (1, 0.2), 0.9: (1, 0.4), 0.8: (1, 0.8)}, [0.5], 0)
    assert bars(rows, right).exchanged is None


def test_bars_of_other_numbers_of_samples_are_left_out() -> None:
    paper = figure({1.0: (2, 0.3), 0.9: (5, 0.4)}, [0.5], 0)
    rows = [row(NETS[0], 0.2), row(NETS[1], 0.4), row(NETS[2], 0.4, 0.9)]
    assert [x.epsilon for x in bars(rows, paper).means] == [1.0]
    with pytest.raises(ValueError, match="no ε has as many samples"):
        bars(rows[2:], paper)


@pytest.mark.parametrize("window", [7, 30, 64])
def test_the_window_of_a_rolling_mean_is_found_from_the_line_alone(window: int) -> None:
    values = np.random.default_rng(window).choice([0.1, 0.9], 3000)
    line = [float(values[i : i + window].mean()) for i in range(3000 - window + 1)]
    found = rolling_window(figure({1.0: (3000, 0.5)}, line, window - 1), spread=0.8)
    assert (found.starts_at, found.lag) == (window, window)
    assert found.most == pytest.approx(window)


def test_rows_in_the_lines_order_are_nearer_than_shuffled_ones() -> None:
    values = np.random.default_rng(0).choice([0.1, 0.9], 400)
    rows = [row(f"[C({64 + i},1,1), SM(10)]", float(x)) for i, x in enumerate(values)]
    line = [float(values[i - 50 : i].mean()) for i in range(50, 401)]
    paper = figure({1.0: (400, 0.5)}, line, 49)
    found = file_order(rows, paper, np.random.default_rng(1), (20, 50), orders=20)
    assert found.rms[50] < 1e-12 < found.shuffled[50][1] <= found.shuffled[50][0]
    assert found.rms[20] > 0.01
    assert (found.duplicates, found.runs, found.distinct) == (0, 0, 400)
    again = file_order([*rows, rows[0], rows[3]], paper, np.random.default_rng(1), orders=1)
    assert (again.duplicates, again.runs, again.distinct) == (2, 1, 400)


@given(
    counts=st.lists(st.integers(0, 40), min_size=98, max_size=98),
    lost=st.integers(1, 60),
    best=st.integers(1, 9),
)
@settings(max_examples=40, deadline=None)
def test_a_histogram_gives_its_samples_back(counts: list[int], lost: int, best: int) -> None:
    """Bars to the precision of the figure's numbers tell how many samples each holds."""
    width = 0.0085
    edges = [0.1 + width * i for i in range(101)]
    held = [lost, *counts, best]
    total = sum(held)
    drawn = [
        Bar(round(edges[i], 4), round(edges[i + 1], 4), n / total / width)
        for i, n in enumerate(held)
        if n
    ]
    middles = [(x.start + x.end) / 2 for x in drawn[1:]]
    mean = 0.1 * lost + sum(m * n for m, n in zip(middles, [n for n in held[1:] if n], strict=True))
    count, remainder = samples_of_bars(drawn, total)
    divisors = math.gcd(*held)
    assert remainder < 0.05
    assert divisors > 1 or count == total
    found = accuracies_of_bars(drawn, total, mean / total)
    assert len(found) == total
    assert found.count(0.1) == lost
    assert np.mean(found) == pytest.approx(mean / total)


def test_bars_that_do_not_hold_the_samples_or_the_mean_are_refused() -> None:
    drawn = [Bar(0.1, 0.11, 50.0), Bar(1.09, 1.1, 50.0)]
    assert accuracies_of_bars(drawn, 4, 0.5975) == pytest.approx([0.1, 0.1, 1.095, 1.095])
    with pytest.raises(ValueError, match="hold 2 samples, not 3"):
        accuracies_of_bars([Bar(0.1, 0.11, 40.0), Bar(1.09, 1.1, 40.0)], 3, 0.5)
    with pytest.raises(ValueError, match=r"a mean of 0\.7 does not fit"):
        accuracies_of_bars(drawn, 4, 0.7)


# The rise.


def test_only_fewer_failures_explain_all_of_a_rise() -> None:
    found = decompose([0.1, 0.1, 0.8, 0.8], [0.1, 0.8, 0.8, 0.8], np.random.default_rng(0))
    assert found.rise == pytest.approx(0.175)
    assert found.failures_first == pytest.approx(1)
    assert found.quality_first == pytest.approx(1)
    assert found.better == pytest.approx(0)


def test_the_orders_of_a_decomposition_share_the_product_out() -> None:
    """From (1/2 failing, 0.6) to (1/4, 0.8): by hand 0.125 or 0.175 of 0.275."""
    rng = np.random.default_rng(0)
    found = decompose([0.1, 0.6], [0.1, 0.8, 0.8, 0.8], rng, resamples=100)
    assert found.rise == pytest.approx(0.275)
    assert found.failures_first == pytest.approx(0.125 / 0.275)
    assert found.quality_first == pytest.approx(0.175 / 0.275)


def test_intervals_are_those_of_resampled_means() -> None:
    rng = np.random.default_rng(3)
    first = [0.1] * 60 + list(rng.normal(0.8, 0.05, 140))
    last = [0.1] * 10 + list(rng.normal(0.85, 0.03, 90))
    found = decompose(first, last, rng, resamples=4000)
    deviation = math.sqrt(np.var(first) / 200 + np.var(last) / 100)
    low, high = found.rise_interval
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.06)
    again = decompose(first, last, np.random.default_rng(3), resamples=50)
    assert again == decompose(first, last, np.random.default_rng(3), resamples=50)


def test_groups_without_learners_or_a_rise_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no net of the last group"):
        decompose([0.5], [0.1, 0.1], rng)
    with pytest.raises(ValueError, match="the means are equal"):
        decompose([0.5], [0.5], rng)


# Trainings.


def test_rates_off_the_ladder_are_told() -> None:
    found = learning_rates([curve(rate=x) for x in (0.001, 0.001, 0.0004, 0.0003)])
    assert found.on_ladder == 3
    assert found.counts == {0.001: 2, 0.0004: 1, 0.0003: 1}
    assert found.worked == {0.001: 0.5, 0.0004: 0.5, 0.0003: 1.0}


def test_thresholds_count_what_is_under_and_just_over_them() -> None:
    found = thresholds([curve(first=x) for x in (0.14, 0.16, 0.4)], (0.15,))
    assert (found.least_first, found.below, found.just_above) == (0.14, {0.15: 1}, {0.15: 1})


def test_the_schedule_tells_where_changes_become_small() -> None:
    rates = [1.0] * 6 + [0.1] * 6 + [0.01] * 4 + [0.001] * 3
    accuracies = np.concatenate([[0.0], np.cumsum(rates)]) / 10
    found = schedule([LearningCurve(NETS[2], 0.001, tuple(accuracies.tolist()), 0, 1)])
    assert found.falls == (6, 12, 16)
    assert found.gains == pytest.approx(np.array(rates) / 10)


# Nets and samples.


def test_dropout_and_space_tell_nets_that_do_not_fit() -> None:
    nets = ["[C(64,1,1), C(64,1,1), D(1,1), SM(10)]", "[C(64,1,1), D(1,1), SM(10)]"]
    assert set(dropout_fit(nets).reproduced.values()) == {1}
    found = space_fit(["[P(2,2), SM(10)]", NETS[2]], SearchSpace(SpaceRules(depth=2, image=8)))
    assert (found.inside, found.reasons) == (1, {"pooling may not come first": 1})


def test_failures_count_each_net_at_the_epsilon_of_its_first_row() -> None:
    rows = [row(NETS[3], 0.1), row(NETS[3], 0.1), row(NETS[2], 0.6), row(NETS[1], 0.1, 0.9)]
    found = failures(rows)
    assert (found.gap.nets, found.gap.chance) == (1, 1.0)
    assert (found.others.nets, found.others.chance) == (1, 0.0)
    assert set(found.by_depth) == {1, 2}


def test_stages_count_rows_nets_and_new_nets() -> None:
    rows = [row(NETS[0], 0.1), row(NETS[0], 0.1), row(NETS[0], 0.1, 0.9), row(NETS[1], 0.1, 0.9)]
    one, two = stages(rows, {1.0: 3})
    assert (one.planned, one.rows, one.nets, one.new) == (3, 2, 1, 1)
    assert (two.planned, two.rows, two.nets, two.new) == (0, 2, 2, 1)


def test_trainings_tell_those_cut_short() -> None:
    rows = [
        row(NETS[2], 0.6, iter_best_val=30.0, iter_last_val=40.0, machine_run_on="ada"),
        row(NETS[3], 0.6, iter_best_val=20.0, iter_last_val=20.0, time_finished=5.0),
        row(NETS[0], 0.1),
    ]
    found = trainings(rows)
    assert (found.whole, found.cut_short, found.best_is_last, found.per_epoch) == (1, 1, 1, 10)
    assert (found.timed, found.hosts, found.unnamed, found.at_chance) == (1, {"ada": 1}, 2, 1)
    with pytest.raises(ValueError, match="no net has learned"):
        trainings(rows[2:])


def test_debug_rows_without_times_have_none() -> None:
    found = debug_rows([row(NETS[0], 86.0)], [row(NETS[0], 0.1)])
    assert (found.first, found.last, found.known) == (None, None, 1)


def test_work_by_hand() -> None:
    """[C(64,1,1), SM(10)] of 3x32x32: 64 x 3 x 1024 and 10 x 65,536 multiply-accumulates."""
    macs = 64 * 3 * 1024 + 10 * 64 * 1024
    found = work([curve(rate=0.0004)], 100, 7, failures=0.5, rates=(0.001, 0.0004))
    assert found.epochs == (21 + 2) / 2
    assert found.flop == pytest.approx(6 * macs * 100 * (21 + 2) / 2)
    assert found.total == pytest.approx(7 * found.flop)


# Q-values.

SMALL = SearchSpace(
    SpaceRules(
        depth=4,
        image=12,
        smaller_than_bin=True,
        pool_rounding="floor",
        gap="layer",
        fc_sees_bin=True,
    )
)


def q_table(changed: dict[int, float]) -> ReleasedQValues:
    return ReleasedQValues(
        tuple(
            QRow(end, start, changed.get(pair, 0.5), pair)
            for pair, (end, start) in enumerate(released_pairs(SMALL))
        )
    )


def pair_of(layer: str) -> int:
    """The pair of the start's action, by its text."""
    return [str(action) for action in SMALL.actions[0]].index(layer)


def test_q_values_changed_by_no_sample_are_counted() -> None:
    softmax, convolution = pair_of("SM(10)"), pair_of("C(64,1,1)")
    q_values = q_table({softmax: 0.4, convolution: 3.0})
    found = q_value_counts(q_values, SMALL, [row(NETS[0], 0.1)], [row(NETS[2], 86.0)])
    assert found.pairs == found.of_space == SMALL.pairs
    assert (found.unchanged, found.missing, found.unmapped) == (SMALL.pairs - 2, 0, 0)
    assert (found.changed_off_samples, found.changed_off_all) == (1, 0)
    assert (found.above_one, found.above_one_debug, found.above_one_last) == (1, 1, 0)
    assert (found.replayed, found.replayed_unchanged, found.largest) == (1, 0, 3.0)
    assert found.only_in_walks == found.only_in_walks_unchanged > 0


@given(updates=st.integers(0, 1500))
@settings(max_examples=30, deadline=None)
def test_updates_of_a_net_of_one_pair_are_counted_back(updates: int) -> None:
    value = 0.1 + 0.4 * 0.99**updates
    q_values = q_table({pair_of("SM(10)"): value})
    samples = [row(NETS[0], 0.1), row(NETS[2], 0.6), row(NETS[2], 0.6), row(NETS[2], 0.6)]
    found = implied_updates(q_values, SMALL, samples, NETS[0])
    assert found.updates == pytest.approx(updates, abs=1e-6)
    assert found.per_sample == pytest.approx(updates, abs=1e-6)  # 4 n replays of 4 samples


def test_updates_of_nets_that_share_their_last_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="other nets have the same last pair"):
        implied_updates(q_table({}), SMALL, [row(NETS[2], 0.6)], NETS[2])
