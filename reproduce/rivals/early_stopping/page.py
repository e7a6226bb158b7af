"""A study of early stopping as Markdown: a table for each question, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reproduce.published_results import NAMES
from reproduce.results.intervals import wilson_interval
from reproduce.rivals.early_stopping import published
from reproduce.rivals.early_stopping.published import LAST_SEEN, SVR
from reproduce.rivals.early_stopping.study import (
    RIDGE,
    TOP,
    TRAIN,
    EarlyStoppingStudy,
    Prediction,
    Stopping,
)
from reproduce.rivals.surrogate.quality import Estimate


def markdown(study: EarlyStoppingStudy) -> str:
    """Two tables with a paragraph each, without a heading.

    The thesis's own numbers stand beside ours only where the nets are as many as its own.
    """
    return "\n\n".join(
        [
            f"{study.nets:,} nets of {NAMES.get(study.data_set, study.data_set)} in "
            f"{study.orders} random orders. In each the first {study.train} are trained in full "
            "and learned from, and all others are held out. Numbers are means over the orders, "
            "with their 95 % bootstrap intervals: they tell how much hangs on the order, not on "
            "the nets.",
            _about_predictions(study),
            _predictions(study),
            _about_stopping(study),
            _stoppings(study),
        ]
    )


def _about_predictions(study: EarlyStoppingStudy) -> str:
    quarter = {x.method: x for x in study.predictions if x.observed == _quarter(study)}
    svr = quarter[SVR]
    r2 = ", ".join(f"{quarter[m].r2.value:.2f} by {m}" for m in (RIDGE, LAST_SEEN))
    errors = [x.error.value / x.sigma.value for x in study.predictions if x.method == SVR]
    return (
        f"**Prediction.** After {svr.observed} of {study.epochs} epochs the R² of the final "
        f"accuracy of nets held out is {svr.r2.value:.2f} by {SVR}{_thesis_r2(study, svr)}, {r2}. "
        f"Of {SVR} the error is {min(errors):.1f} to {max(errors):.1f} times the σ foretold from "
        "the training nets."
    )


def _quarter(study: EarlyStoppingStudy) -> int:
    seen = sorted({x.observed for x in study.predictions})
    return min(seen, key=lambda x: abs(x - study.epochs / 4))


def _thesis_r2(study: EarlyStoppingStudy, row: Prediction) -> str:
    value = _published_r2(study, row)
    return f" (the thesis: {value})" if value else ""


def _predictions(study: EarlyStoppingStudy) -> str:
    header = ["predicted by", "epochs seen", "R²", "R², thesis", "rank correlation"]
    rows = [
        [
            x.method,
            str(x.observed),
            _number(x.r2),
            _published_r2(study, x),
            _number(x.rank_correlation),
            _points(x.error),
            _points(x.sigma),
        ]
        for x in study.predictions
    ]
    return _table([*header, "RMS error, points", "σ foretold, points"], rows)


def _about_stopping(study: EarlyStoppingStudy) -> str:
    plain = [x for x in study.stoppings if (x.rank, x.offset) == (1, 0.0)]
    strictest = max(x.threshold for x in plain if x.threshold is not None)
    svr, ridge, seen = (
        next(x for x in plain if x.method == m and x.threshold == strictest)
        for m in (SVR, RIDGE, LAST_SEEN)
    )
    factor = _published_factor(study, svr)
    return (
        f"**Stopping.** At Δ = {strictest:g} {SVR} saves {_percent(svr.saved)} of the epochs, a "
        f"factor of {svr.speed_up.value:.1f}{f' (the thesis: {factor})' if factor else ''}; the "
        f"best net of all is lost in {svr.lost} of {study.orders} orders. "
        f"{_against(ridge)} {_against(seen)} "
        f"Of the {TOP} best nets {svr.top_kept.value:.0%} are kept."
    )


def _against(row: Stopping) -> str:
    more = row.saved_more
    if more is None:
        return ""
    if more.low > 0:
        verdict = "more than it"
    elif more.high < 0:
        verdict = "less than it"
    else:
        verdict = "no different from it by the interval"
    difference = f"{100 * more.value:+.1f} points, {100 * more.low:.1f} to {100 * more.high:.1f}"
    name = row.method[0].upper() + row.method[1:]
    return f"{name} saves {verdict} ({difference}), and loses the best in {row.lost}."


def _stoppings(study: EarlyStoppingStudy) -> str:
    header = ["rule", "Δ", "factor", "factor, thesis", "epochs saved", "best net lost, orders"]
    rows = [
        [
            _rule(x),
            "" if x.threshold is None else f"{x.threshold:g}",
            f"{x.speed_up.value:.2f} ({x.speed_up.low:.2f} to {x.speed_up.high:.2f})",
            _published_factor(study, x),
            _percent(x.saved),
            _lost(x, study.orders),
            _points(x.regret),
            f"{100 * x.worst_regret:.2f}",
            f"{x.top_kept.value:.0%}",
        ]
        for x in study.stoppings
    ]
    return _table([*header, "regret, points", "worst regret", f"best {TOP} kept"], rows)


def _rule(row: Stopping) -> str:
    if row.rank > 1:
        return f"{row.method}, against the {row.rank}th best"
    return f"{row.method}, δ = {row.offset:g}" if row.offset else row.method


def _lost(row: Stopping, orders: int) -> str:
    low, high = wilson_interval(row.lost, orders)
    return f"{row.lost} of {orders} ({low:.0%} to {high:.0%})"


def _is_the_thesis(study: EarlyStoppingStudy) -> bool:
    return (study.nets, study.train) == (published.NETS, TRAIN)


def _published_r2(study: EarlyStoppingStudy, row: Prediction) -> str:
    rows = published.R2.get(study.data_set, {}).get(row.method, {})
    value = rows.get(row.observed) if _is_the_thesis(study) else None
    return "" if value is None else f"{value:.2f}"


def _published_factor(study: EarlyStoppingStudy, row: Stopping) -> str:
    if row.method != SVR or row.threshold is None or not _is_the_thesis(study):
        return ""
    rows = published.SPEED_UP.get(study.data_set, {}).get((row.rank, row.offset), {})
    value = rows.get(row.threshold)
    return "" if value is None else f"{value:.2f}"


def _number(x: Estimate) -> str:
    return str(x)


def _points(x: Estimate) -> str:
    return f"{100 * x.value:.2f} ({100 * x.low:.2f} to {100 * x.high:.2f})"


def _percent(x: Estimate) -> str:
    return f"{x.value:.1%} ({x.low:.1%} to {x.high:.1%})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Without the columns that no row has anything in."""
    lines = list(rows)
    used = [i for i in range(len(header)) if any(line[i] for line in lines)]
    shown = [[line[i] for i in used] for line in [header, *lines]]
    shown.insert(1, ["---"] * len(used))
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)
