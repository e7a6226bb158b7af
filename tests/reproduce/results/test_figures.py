"""The paper's figures from small made-up data: what is drawn where, and how it is told apart."""

import itertools
import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from PIL import Image

from prototxt_gen.notation import Convolution, GlobalAveragePooling, Pooling, Softmax
from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.results.figures import SearchCurve, run_figures, search_curve, write_figures
from reproduce.results.plots import curves, style
from reproduce.results.plots.figure_3 import figure_3
from reproduce.results.plots.figure_a2 import distribution, figure_a2, outline
from reproduce.results.plots.q_values import (
    QValue,
    average_by_layer_type,
    average_by_receptive_field,
    figure_a3,
    figure_a4,
    q_table,
)
from reproduce.results.plots.stability import Spread, spread, stability_figure
from reproduce.results.plots.training_curves import TrainingCurve, training_curves
from reproduce.results.top_models import top_trials, validation_accuracy
from reproduce.search.replay_memory import ImportedSample, ReplayMemory, Trial
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

SVG = "{http://www.w3.org/2000/svg}"
CURVE = SearchCurve((1.0,) * 4 + (0.5,) * 2 + (0.1,), (0.1, 0.5, 0.5, 0.9, 0.75, 0.25, 0.875))
"""Means 0.5, 0.5 and 0.875; a rolling mean over 2."""


def result(*accuracies: float, outcome: Outcome = Outcome.FINISHED) -> TrialResult:
    return TrialResult(outcome, accuracies, 0.001, 0, 78, 12.5, "caffe 1.0.0", "")


def an_experiment(name: str, budget: str = "quick") -> Experiment:
    return load_experiment(experiment_path(name), budget, DEFAULT_SEED)


def a_memory(path: Path) -> ReplayMemory:
    """A replay memory of three nets in four samples."""
    nets = ["[C(64,3,1), SM(10)]", "[SM(10)]", "[C(64,3,1), SM(10)]", "[C(128,5,1), SM(10)]"]
    results = [result(0.5, 0.8), result(0.2, 0.3), result(0.5, 0.8), result(0.6, 0.9)]
    memory = ReplayMemory(path)
    memory.import_samples(
        [
            ImportedSample(net, epsilon, trained, trained.accuracies[-1])
            for net, epsilon, trained in zip(nets, (1.0, 1.0, 1.0, 0.1), results, strict=True)
        ],
        [0.6, *[math.nan] * 4, 0.7],
    )
    return memory


def every_figure() -> dict[str, Figure]:
    """Each kind of figure, with the paper's curves where there are some."""
    epsilons = [e for e in np.arange(10, 0, -1) / 10 for _ in range(12)]
    full = SearchCurve(tuple(epsilons), tuple(0.1 + 0.007 * i for i in range(120)))
    by_type = curves.paper_q_by_layer_type("SVHN")
    lower = {
        name: {d: 0.8 * value for d, value in curve.items()} for name, curve in by_type.items()
    }
    fields = curves.paper_q_by_receptive_field("CIFAR10")
    trained = [
        TrainingCurve(i, tuple(0.9 - 0.01 * i - 0.3 / e for e in (1, 2, 3))) for i in range(10)
    ]
    return {
        "3": figure_3(full, "t", curves.paper_search("CIFAR10")),
        "3-alone": figure_3(CURVE, "t"),
        "3-one": figure_3(SearchCurve((1.0,), (0.5,)), "t"),
        "a2": figure_a2(full, "t", curves.paper_distributions("SVHN")),
        "a2-three": figure_a2(CURVE, "t"),
        "a2-one": figure_a2(SearchCurve((1.0,), (0.5,)), "t"),
        "a3": figure_a3(lower, "t", by_type),
        "a3-alone": figure_a3(lower, "t"),
        "a4": figure_a4(fields, "t", fields),
        "stability": stability_figure([full, CURVE], "t", curves.paper_stability()),
        "training": training_curves(trained, "t"),
    }


FIGURES = every_figure()


# What is drawn.


def polyline(path: ElementTree.Element) -> np.ndarray:
    """The points of a path of straight lines, in the SVG's units."""
    numbers = re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])
    return np.array(numbers, dtype=float)


def drawn(figure: Figure, css: str) -> tuple[list[np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The paths whose style has `css`, and what maps them to the data's units of `figure`.

    The map is read off the frame of the axes, whose corners are the axes' limits.
    """
    root = ElementTree.fromstring(style.svg(figure, "x"))  # noqa: S314 (written here)
    (axes,) = figure.axes
    frame = root.find(f".//{SVG}g[@id='x-patch_2']/{SVG}path")
    assert frame is not None
    corners = polyline(frame)
    low, high = corners.min(axis=0), corners.max(axis=0)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()

    def to_data(points: np.ndarray) -> np.ndarray:
        share = (points - low) / (high - low)
        return np.column_stack(
            [left + share[:, 0] * (right - left), top - share[:, 1] * (top - bottom)]
        )

    found = [
        polyline(path)
        for group in root.iter(f"{SVG}g")
        if "axes_1" in group.attrib.get("id", "")
        for path in group.iter(f"{SVG}path")
        if css in path.attrib.get("style", "") and "clip-path" in path.attrib
    ]
    return found, to_data


def test_the_rolling_means_line_in_the_svg_has_the_datas_coordinates() -> None:
    """Seven samples, numbered from 1: a window of 2."""
    (line,), to_data = drawn(figure_3(CURVE, "t"), "stroke: #0072b2; stroke-width: 1.8")
    rolling = [0.3, 0.5, 0.7, 0.825, 0.5, 0.5625]
    expected = np.column_stack([np.arange(2, 8), rolling])
    np.testing.assert_allclose(to_data(line), expected, atol=1e-4)


def test_the_bars_in_the_svg_are_the_means_per_epsilon() -> None:
    bars, to_data = drawn(figure_3(CURVE, "t"), "fill: #d9d9d9")
    boxes = [(*to_data(bar).min(axis=0), *to_data(bar).max(axis=0)) for bar in bars]
    expected = [(0.5, 0, 4.5, 0.5), (4.5, 0, 6.5, 0.5), (6.5, 0, 7.5, 0.875)]
    np.testing.assert_allclose(boxes, expected, atol=1e-4)


def test_a_search_that_goes_back_to_an_epsilon_has_one_mean_for_it() -> None:
    curve = SearchCurve((1.0, 0.5, 1.0, 1.0), (0.25, 0.5, 0.5, 0.75))
    bars, to_data = drawn(figure_3(curve, "t"), "fill: #d9d9d9")
    assert [to_data(bar)[:, 1].max() for bar in bars] == pytest.approx([0.5] * 3, abs=1e-4)


def line_of(figure: Figure, label: str) -> Line2D:
    (line,) = [x for axes in figure.axes for x in axes.lines if str(x.get_label()) == label]
    return line


@pytest.mark.parametrize("times", [1, 2])
def test_the_papers_stages_are_stretched_to_the_runs(times: int) -> None:
    """At the paper's own numbers of samples nothing moves; at twice those all is twice as far."""
    paper = curves.paper_search("SVHN")
    epsilons = [
        epsilon
        for epsilon, bar in paper.means.items()
        for _ in range(times * int(bar.end - bar.start))
    ]
    curve = SearchCurve(tuple(epsilons), (0.5,) * len(epsilons))
    line = line_of(figure_3(curve, "t", paper), "paper: rolling mean over 100")
    inside = [i < 3447 for i in paper.iterations]  # the last point is at the end of the bars
    # The paper's iterations count from 0, a run's samples from 1.
    places = times * (np.array(paper.iterations)[inside] + 0.5) + 0.5
    np.testing.assert_allclose(np.asarray(line.get_xdata(), dtype=float), places)
    np.testing.assert_array_equal(line.get_ydata(), np.array(paper.rolling)[inside])


def test_stages_of_the_paper_that_the_run_lacks_are_left_out() -> None:
    paper = curves.paper_search("SVHN")
    figure = figure_3(SearchCurve((1.0, 1.0, 0.1), (0.5, 0.5, 0.9)), "t", paper)
    means = [
        (list(x.get_xdata()), list(x.get_ydata()))
        for x in figure.axes[0].lines
        if to_hex(x.get_color()) == style.PAPER  # type: ignore[arg-type]
    ]
    assert means == [([0.5, 2.5], [0.5215] * 2), ([2.5, 3.5], [0.8802] * 2)]
    line = line_of(figure, "paper: rolling mean over 100")
    places = np.asarray(line.get_xdata(), dtype=float)
    assert np.isnan(places).sum() == 8  # the line is interrupted
    assert 0.5 < np.nanmin(places) < 0.7
    assert np.nanmax(places) <= 3.5


# Figure A2.

accuracies = st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=1, max_size=60)


@given(accuracies)
def test_a_distribution_integrates_to_one(values: list[float]) -> None:
    bars = distribution(values)
    assert sum(bar.height * (bar.end - bar.start) for bar in bars) == pytest.approx(1)
    assert all(bar.height > 0 for bar in bars)


@given(accuracies, st.randoms(use_true_random=False))
def test_a_distribution_depends_on_shares_alone(values: list[float], random: object) -> None:
    """Neither on the order nor on how often the whole is repeated."""
    shuffled = values * 3
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for one, other in zip(distribution(values), distribution(shuffled), strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        assert one.height == pytest.approx(other.height)


def test_a_distribution_has_a_hundred_bins_between_the_ends() -> None:
    """Four of five in the first bin of width 0.005, one in the last."""
    low, high = distribution([0.25, 0.25, 0.25, 0.254, 0.75])
    assert (low.start, low.end, low.height) == pytest.approx((0.25, 0.255, 160))
    assert (high.start, high.end, high.height) == pytest.approx((0.745, 0.75, 40))
    (only,) = distribution([0.5])
    assert (only.end - only.start, only.height) == pytest.approx((0.01, 100))
    with pytest.raises(ValueError, match="at least one accuracy"):
        distribution([])


def test_an_outline_falls_to_zero_between_bars_that_do_not_meet() -> None:
    bars = [curves.Bar(0.1, 0.2, 5), curves.Bar(0.201, 0.3, 2), curves.Bar(0.5, 0.6, 1)]
    assert outline(bars) == ([0.1, 0.2, 0.3, 0.5, 0.6], [5, 2, 0, 1])


def test_each_epsilon_has_its_panel() -> None:
    titles = [axes.get_title(loc="left") for axes in figure_a2(CURVE, "t").axes]
    assert sorted(titles, reverse=True) == ["ε 1, n = 4", "ε 0.5, n = 2", "ε 0.1, n = 1"]


# Figures A3 and A4.

TINY = SearchSpace(SpaceRules(depth=2, image=8, filters=(64,), sizes=(1, 3), pools=((2, 2),)))


def test_averages_are_over_all_states_of_a_depth() -> None:
    """By hand: two convolutions at depth 1; at depth 2 each of both states has the same layers."""
    values = {}
    pair = 0
    for state, actions in zip(TINY.states, TINY.actions, strict=True):
        for action in actions:
            # 0.9 for what follows C(64,1), 0.3 for what follows C(64,3).
            if state.depth == 1:
                values[pair] = {1: 0.9, 3: 0.3}[state.numbers[1]]
            elif isinstance(action, Convolution) and state.depth == 0:
                values[pair] = {1: 0.8, 3: 0.4}[action.size]
            pair += 1
    table = list(q_table(TINY, values, 0.5))
    assert len(table) == TINY.pairs
    by_type = average_by_layer_type(table)
    assert by_type["Convolution"] == pytest.approx({1: 0.6, 2: 0.6})
    assert by_type["Pooling"] == pytest.approx({2: 0.6})
    assert "Fully Connected" not in by_type
    assert by_type["Softmax"] == pytest.approx({1: 0.5, 2: 0.6, 3: 0.5})
    assert by_type["Global Average Pooling"] == pytest.approx({1: 0.5, 2: 0.6, 3: 0.5})
    by_field = average_by_receptive_field(table)
    assert list(by_field) == ["RF 1", "RF 3"]
    assert by_field["RF 1"] == pytest.approx({1: 0.8, 2: 0.6})
    assert by_field["RF 3"] == pytest.approx({1: 0.4, 2: 0.6})


q_values = st.lists(
    st.builds(
        QValue,
        st.integers(1, 4),
        st.sampled_from(
            [
                Convolution(64, 1, 1),
                Convolution(64, 10, 1),
                Pooling(2, 2),
                GlobalAveragePooling(10),
                Softmax(10),
            ]
        ),
        st.floats(0, 1),
    ),
    min_size=1,
)


@given(q_values, st.floats(-1, 1))
def test_averages_shift_and_turn_with_the_values(table: list[QValue], shift: float) -> None:
    moved = [QValue(q.depth, q.action, q.value + shift) for q in reversed(table)]
    for average in (average_by_layer_type, average_by_receptive_field):
        before, after = average(table), average(moved)
        assert before.keys() == after.keys()
        for name in before:
            expected = {depth: value + shift for depth, value in before[name].items()}
            assert after[name] == pytest.approx(expected, abs=1e-9)


def test_receptive_fields_are_in_the_order_of_their_size() -> None:
    table = [QValue(1, Convolution(64, size, 1), 0.5) for size in (10, 2, 9)]
    assert list(average_by_receptive_field(table)) == ["RF 2", "RF 9", "RF 10"]


def test_each_curve_stands_beside_the_papers() -> None:
    own = {"Convolution": {1: 0.5, 2: 0.6}, "Softmax": {1: 0.1}}
    paper = {"Softmax": {1: 0.2, 2: 0.4}}
    every, beside = figure_a3(own, "t", paper).axes
    assert [(x.get_label(), list(x.get_ydata())) for x in every.lines] == [
        ("Convolution", [0.5, 0.6]),
        ("Softmax", [0.1]),
    ]
    assert beside.get_title(loc="left") == "Softmax"
    assert [list(x.get_ydata()) for x in beside.lines] == [[0.2, 0.4], [0.1]]


@pytest.mark.parametrize("values", [(0.5, 0.5), (0.0, 0.2), (0.9, 1.1)])
def test_no_average_lies_on_the_frame(values: tuple[float, float]) -> None:
    for figure in (figure_a3, figure_a4):
        drawn_ = figure({"Softmax": dict(enumerate(values, start=1))}, "t")
        low, high = drawn_.axes[0].get_ylim()
        assert low < min(values)
        assert high > max(values)


# Stability and training.


def test_the_spread_is_over_the_runs_means() -> None:
    """Not over samples: the first run's mean at ε 1 is 0.2, whatever its number of samples."""
    runs = [
        SearchCurve((1.0, 1.0, 0.5), (0.1, 0.3, 0.9)),
        SearchCurve((1.0,), (0.4,)),
        SearchCurve((1.0,), (0.6,)),
    ]
    first, second = spread(runs)
    assert first == Spread(1.0, pytest.approx(0.4), pytest.approx(0.2), 3)
    assert second == Spread(0.5, 0.9, None, 1)


def test_the_error_bars_are_one_standard_deviation() -> None:
    runs = [SearchCurve((1.0, 0.5), (0.2, 0.5)), SearchCurve((1.0, 0.5), (0.4, 0.5))]
    (axes,) = stability_figure(runs, "t").axes
    (bars,) = axes.containers
    segments = bars[2][0].get_segments()  # type: ignore[index]
    deviation = statistics.stdev([0.2, 0.4])
    expected = [[[0, 0.3 - deviation], [0, 0.3 + deviation]], [[1, 0.5], [1, 0.5]]]
    np.testing.assert_allclose(segments, expected)


def a_trial(id_: int, trained: TrialResult | None) -> Trial:
    return Trial(id_, "[SM(10)]", 1.0, trained.outcome if trained else None, None, trained)


def test_the_top_trials_are_the_finished_ones_of_the_best_epoch() -> None:
    trials = [
        a_trial(1, result(0.3, 0.7)),
        a_trial(2, None),
        a_trial(3, result(0.9, 0.2)),
        a_trial(4, result(0.99, outcome=Outcome.DIVERGED)),
        a_trial(5, result(0.7)),
        a_trial(6, result(0.1)),
    ]
    best = [(t.id, validation_accuracy(t)) for t in top_trials(trials, 3)]
    assert best == [(3, 0.9), (1, 0.7), (5, 0.7)]


def test_only_first_epochs_may_be_cut_off() -> None:
    curves_ = [TrainingCurve(1, (0.1, 0.8, 0.9)), TrainingCurve(2, (0.7, 0.6))]
    (axes,) = training_curves(curves_, "t").axes
    bottom, top = axes.get_ylim()
    assert 0.1 < bottom < 0.6
    assert top > 0.9
    (axes,) = training_curves([TrainingCurve(1, (0.1,)), TrainingCurve(2, (0.9,))], "t").axes
    assert axes.get_ylim()[0] < 0.1


# Readable in grey, and laid out.


def look(line: Line2D) -> tuple[object, ...]:
    """What grey leaves of a line: its dashes, its marker and whether that is hollow."""
    hollow = to_hex(line.get_markerfacecolor()) == "#ffffff"  # type: ignore[arg-type]
    return line._dash_pattern, line.get_marker(), hollow  # type: ignore[attr-defined]


def test_series_differ_without_colour() -> None:
    lines = [Line2D([], [], **style.series(number)) for number in range(45)]
    looks = [look(line) for line in lines]
    assert len({str(x) for x in looks}) == 45
    for (dashes, marker, _), (other_dashes, other_marker, _) in itertools.combinations(
        looks[:5], 2
    ):
        assert dashes != other_dashes
        assert marker != other_marker
    assert look(Line2D([], [], **style.paper_series())) not in looks


@pytest.mark.parametrize("name", FIGURES)
def test_labelled_lines_of_a_panel_differ_without_colour(name: str) -> None:
    for axes in FIGURES[name].axes:
        handles, labels = axes.get_legend_handles_labels()
        lines = [h[0] if isinstance(h, tuple) else h for h in handles]
        looks = [(look(x), round(x.get_linewidth(), 1)) for x in lines if isinstance(x, Line2D)]
        assert len({str(x) for x in looks}) == len(looks), labels


def luminance(colour: str) -> float:
    """Relative luminance, IEC 61966-2-1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize(
    ("line", "ground"),
    [
        (style.BLUE, style.PALE),
        (style.PAPER, style.PALE),
        (style.PAPER, style.SKY),
        (style.BLUE, "#FFFFFF"),
    ],
)
def test_lines_stand_out_from_what_they_cross(line: str, ground: str) -> None:
    """A contrast of 3:1, WCAG 2.1's for graphical objects."""
    light, dark = sorted((luminance(line), luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off_or_covers_another(name: str) -> None:
    figure = FIGURES[name]
    canvas = FigureCanvasAgg(figure)
    with style.drawing():
        canvas.draw()
    renderer = canvas.get_renderer()
    texts = [figure._suptitle, figure._supylabel]  # type: ignore[attr-defined]
    boxes: list[tuple[str, Bbox]] = []
    for axes in figure.axes:
        texts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]  # type: ignore[attr-defined]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [
                tick.label1
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high and tick.label1.get_visible()
            ]
    for legend in figure.legends:
        texts += legend.get_texts()
    for text in texts:
        if text is not None and text.get_text().strip():
            boxes.append((text.get_text(), text.get_window_extent(renderer)))
    assert len(boxes) > 5
    for label, box in boxes:
        assert box.x0 >= 0, label
        assert box.y0 >= 0, label
        assert box.x1 <= figure.bbox.x1 + 0.5, label
        assert box.y1 <= figure.bbox.y1 + 0.5, label
    for (one, box), (other, second) in itertools.combinations(boxes, 2):
        assert not box.overlaps(second), f"{one!r} covers {other!r}"


# A run's figures.


def test_the_curve_is_in_the_order_of_sampling_with_duplicates(tmp_path: Path) -> None:
    """Samples in training and those without a reward are left out."""
    memory = ReplayMemory(tmp_path / "r.sqlite")
    nets = ["[C(64,3,1), SM(10)]", "[SM(10)]", "[C(64,3,1), SM(10)]", "[C(64,5,1), SM(10)]"]
    samples = [memory.add_sample(net, 1.0 - i / 10, {}) for i, net in enumerate(nets)]
    crashed = memory.add_sample("[C(64,1,1), SM(10)]", 0.1, {})
    memory.record_outcome(crashed.trial, result(outcome=Outcome.CRASHED), None)
    memory.record_outcome(samples[0].trial, result(0.8), 0.8)
    memory.record_outcome(samples[1].trial, result(0.3), 0.3)
    for sample in (samples[1], samples[0], samples[2], crashed):  # the second ended first
        memory.complete(sample.id)
    curve = search_curve(memory)
    assert curve == SearchCurve((1.0, 0.9, 0.8), (0.8, 0.3, 0.8))
    assert curve.means() == {1.0: 0.8, 0.9: 0.3, 0.8: 0.8}


def test_a_run_without_trained_models_has_no_figures(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    memory.add_sample("[SM(10)]", 1.0, {})
    assert write_figures(run_figures(memory, an_experiment("mnist")), tmp_path / "figures") == []


def test_the_figures_of_a_run_are_the_same_files_each_time(tmp_path: Path) -> None:
    memory, experiment = a_memory(tmp_path / "r.sqlite"), an_experiment("cifar10")
    runs = [search_curve(memory)]
    first = write_figures(run_figures(memory, experiment, runs), tmp_path / "one")
    again = write_figures(run_figures(memory, experiment, runs), tmp_path / "two")
    names = ["figure-3", "figure-a2", "figure-a3", "figure-a4", "training-curves", "stability"]
    assert [path.name for path in first] == [f"{n}.{s}" for n in names for s in ("svg", "png")]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(
        path.name for path in first
    )
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    for path in first[1::2]:
        with Image.open(path) as image:
            assert image.width == 1200
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_the_svgs_can_stand_in_one_page(tmp_path: Path) -> None:
    """Well-formed, no id twice, every reference within the document, no date."""
    memory, experiment = a_memory(tmp_path / "r.sqlite"), an_experiment("cifar10")
    seen: set[str] = set()
    for path in write_figures(run_figures(memory, experiment), tmp_path)[::2]:
        text = path.read_text()
        ElementTree.fromstring(text)  # noqa: S314 (written here)
        ids = re.findall(r'\bid="([^"]+)"', text)
        assert len(set(ids)) == len(ids)
        assert seen.isdisjoint(ids)
        seen.update(ids)
        references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert {one or other for one, other in references} <= set(ids)
        assert "dc:date" not in text


@pytest.mark.parametrize(("name", "paper"), [("cifar10", True), ("svhn", True), ("mnist", False)])
def test_the_papers_curves_are_drawn_for_its_data_sets_alone(
    tmp_path: Path, name: str, paper: bool
) -> None:
    memory = a_memory(tmp_path / "r.sqlite")
    experiment = an_experiment(name)
    for one in run_figures(memory, experiment)[:4]:
        labels = [t.get_text() for legend in one.figure.legends for t in legend.get_texts()]
        assert any(label.startswith("paper") for label in labels) is paper, one.name


def test_the_papers_ten_runs_are_drawn_for_a_tenth_of_svhn_alone(tmp_path: Path) -> None:
    memory = a_memory(tmp_path / "r.sqlite")
    experiment = an_experiment("svhn")
    tenth = experiment.model_copy(
        update={"data": experiment.data.model_copy(update={"svhn": "tenth"})}
    )
    drawn_ = {}
    for one in (experiment, tenth):
        figures = {f.name: f for f in run_figures(memory, one, [search_curve(memory)])}
        drawn_[one.data.svhn] = {
            name: any(t.get_text().startswith("paper") for t in f.figure.legends[0].get_texts())
            for name, f in figures.items()
        }
    assert drawn_["original"]["figure-3"]
    assert not drawn_["original"]["stability"]
    assert drawn_["tenth"]["stability"]
    assert not drawn_["tenth"]["figure-3"]


def test_descriptions_tell_the_numbers_and_titles_the_budget(tmp_path: Path) -> None:
    memory, experiment = a_memory(tmp_path / "r.sqlite"), an_experiment("mnist")
    figures = {f.name: f for f in run_figures(memory, experiment, [search_curve(memory)])}
    assert "ε 1: 0.6333 over 3; ε 0.1: 0.9000 over 1" in figures["figure-3"].description
    assert "trial 3 0.9000, trial 1 0.8000" in figures["training-curves"].description
    assert "ε 1: 0.6333 ± 0.0000" in figures["stability"].description
    for one in figures.values():
        figure = one.figure
        title = figure.get_suptitle() or figure.axes[0].get_title()
        assert "budget quick" in title


def test_settings_of_matplotlib_neither_matter_nor_change() -> None:
    usual = style.svg(figure_3(CURVE, "t"), "x")
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        assert style.svg(figure_3(CURVE, "t"), "x") == usual
        assert dict(mpl.rcParams) == before


def test_a_run_of_one_sample_has_a_rolling_mean_over_it() -> None:
    line = line_of(figure_3(SearchCurve((1.0,), (0.25,)), "t"), "this run: rolling mean over 1")
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1], [0.25])
