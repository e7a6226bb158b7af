"""The paper's figures as inputs of checks: plain lists of what `plots.curves` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reproduce.audit.context import Evidence, link_to
from reproduce.results.plots import curves

_DATA: dict[str, curves.PaperData] = {"svhn": "SVHN", "cifar10": "CIFAR10"}


def figure(name: str) -> Evidence:
    """A figure of the paper, as `NAME/DATA`.

    Names are `bars` and `rolling` (Figure 3), `distribution` (A2), `q-by-type` (A3),
    `q-by-field` (A4) and `stability/spread`, `stability/runs` (thesis, 3-6).

    Raises:
        KeyError: if there is no such figure.
    """
    what, _, data = name.partition("/")
    if what == "stability":
        found = curves.paper_stability()
        if data == "runs":
            runs = [[{"epsilon": e, "mean": m} for e, m in run.items()] for run in found.runs]
            return Evidence(runs, (_link("fig_stability_runs"),))
        spread = [
            {"epsilon": e, "mean": mean, "deviation": deviation}
            for e, (mean, deviation) in found.spread.items()
        ]
        return Evidence(spread, (_link("fig_stability_mean_std"),))
    paper = _DATA[data]
    file, value = {
        "bars": (f"fig3_bars_{paper}", _bars),
        "rolling": (f"fig3_rolling_{paper}", _rolling),
        "distribution": ("figA2_bars", _distribution),
        "q-by-type": ("figA3_A4_curves", _q_by_type),
        "q-by-field": ("figA3_A4_curves", _q_by_field),
    }[what]
    return Evidence(value(paper), (_link(file),))


def _link(name: str) -> str:
    return link_to(Path(curves.CURVES) / f"{name}.csv")


def _bars(data: curves.PaperData) -> list[dict[str, Any]]:
    means = curves.paper_search(data).means
    return [
        {"epsilon": e, "mean": bar.height, "samples": bar.end - bar.start}
        for e, bar in means.items()
    ]


def _rolling(data: curves.PaperData) -> list[list[float]]:
    found = curves.paper_search(data)
    return [[x, y] for x, y in zip(found.iterations, found.rolling, strict=True)]


def _distribution(data: curves.PaperData) -> list[dict[str, Any]]:
    return [
        {"epsilon": e, "low": bar.start, "high": bar.end, "height": bar.height}
        for e, bars in curves.paper_distributions(data).items()
        for bar in bars
    ]


def _lines(found: curves.Curves) -> list[dict[str, Any]]:
    return [
        {"series": name, "depth": depth, "q": q}
        for name, line in found.items()
        for depth, q in line.items()
    ]


def _q_by_type(data: curves.PaperData) -> list[dict[str, Any]]:
    return _lines(curves.paper_q_by_layer_type(data))


def _q_by_field(data: curves.PaperData) -> list[dict[str, Any]]:
    return _lines(curves.paper_q_by_receptive_field(data))
