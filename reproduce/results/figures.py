"""The search's learning curve, as in the paper's Figure 3."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

from reproduce.search.replay_memory import ReplayMemory

# Okabe and Ito's blue and orange: told apart by the colour-blind, and in grey by their shade.
_POINTS, _MEAN, _BARS = "#0072B2", "#D55E00", "#BBBBBB"


@dataclass(frozen=True)
class SearchCurve:
    """Completed samples in order: the ε and the reward of each."""

    epsilons: tuple[float, ...]
    rewards: tuple[float, ...]


def search_curve(memory: ReplayMemory) -> SearchCurve:
    """Read the curve; samples without a reward are left out."""
    rewards = {trial.id: trial.reward for trial in memory.trials()}
    done = sorted(
        (s.completed, s.epsilon, rewards[s.trial])
        for s in memory.samples()
        if s.completed is not None and rewards[s.trial] is not None
    )
    return SearchCurve(tuple(e for _, e, _ in done), tuple(r for _, _, r in done if r is not None))


def rolling_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of the last `window` values at each position from the window-th on."""
    return [
        sum(values[i - window : i]) / window for i in range(window, len(values) + 1) if window > 0
    ]


def learning_curve_svg(curve: SearchCurve, title: str) -> str:
    """Accuracy of each sample, its mean per ε and its rolling mean, as an SVG document.

    The rolling mean's window is the paper's 100 samples, or a third of a shorter run.
    """
    count = len(curve.rewards)
    window = 100 if count > 300 else max(1, count // 3)
    with mpl.rc_context({"svg.hashsalt": "metaqnn", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.add_subplot()
        start = 0
        while start < count:
            epsilon = curve.epsilons[start]
            end = start
            while end < count and curve.epsilons[end] == epsilon:
                end += 1
            mean = sum(curve.rewards[start:end]) / (end - start)
            axes.bar(start + 0.5, mean, end - start, align="edge", color=_BARS, edgecolor="white")
            middle = (start + end + 1) / 2
            axes.text(middle, 0.03, f"ε {epsilon:g}", ha="center", va="bottom", rotation=90)
            start = end
        if count:
            axes.plot(range(1, count + 1), curve.rewards, ".", color=_POINTS, label="one net")
            axes.plot(
                range(window, count + 1),
                rolling_mean(curve.rewards, window),
                color=_MEAN,
                label=f"rolling mean of {window}",
            )
            axes.legend(loc="lower right", bbox_to_anchor=(1, 0.15))
        axes.set(xlabel="sampled nets", ylabel="validation accuracy", ylim=(0, 1.02), title=title)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
