"""The searchers compared, as Markdown: tables, and sentences made of their numbers."""

from __future__ import annotations

from collections.abc import Iterator

from reproduce.display import duration
from reproduce.rivals.comparison import Comparison, Paired, Unit
from reproduce.rivals.plan import GROUNDS, Q_LEARNING, Plan
from reproduce.rivals.race import device_seconds
from reproduce.rivals.results import StudyResults
from reproduce.rivals.searchers import RIVALS

TITLES = {
    "svhn": "SVHN",
    "cifar10": "CIFAR-10",
    "cifar10-all-learn": "CIFAR-10, all nets learn",
}
_UNITS: dict[Unit, str] = {"models": "models", "epochs": "epochs", "flop": "device-seconds"}


def searchers(plan: Plan) -> str:
    """Who searches, and how each is told the tree."""
    rows = ["| searcher | what it is | at most, models |", "| --- | --- | --- |"]
    for name in plan.searchers:
        one = RIVALS[name]
        most = "" if one.most is None else f"{one.most:,}"
        rows.append(f"| {one.title} | {one.how} | {most} |")
    return "\n".join(rows)


def verdict(results: StudyResults, ground: str, models: int) -> str:
    """Whether Q-learning beats random search on a ground, in one sentence."""
    pair = _pair(results.comparison(ground, models, "models"), "random")
    said = {"better": "beats", "worse": "loses to", "not told apart": "is not told apart from"}
    return (
        f"**{TITLES[ground]}, {models:,} models: Q-learning {said[pair.verdict]} random search**, "
        f"by {_signed(pair.difference)} points ({_signed(pair.low)} to {_signed(pair.high)}) of "
        f"predicted accuracy; d = {pair.standardized:+.2f}; better in {pair.wins} of "
        f"{pair.seeds} seeds, worse in {pair.losses}; p = {_p(pair.corrected)} (Wilcoxon, Holm)."
    )


def comparison(results: StudyResults, ground: str, models: int) -> str:
    """The table of a budget: regret, reward and rank where all spent the same."""
    found: dict[Unit, Comparison] = {
        unit: results.comparison(ground, models, unit) for unit in _UNITS
    }
    by_unit = {
        unit: {one.searcher: one for one in comparison.standings}
        for unit, comparison in found.items()
    }
    pairs = {
        unit: {one.second: one for one in comparison.pairs} for unit, comparison in found.items()
    }
    rows = [
        "| searcher | regret, equal models | equal epochs | equal device-seconds | accuracy seen "
        "| rank | Q-learning less it | p | spent: models | epochs | device time | out of range |",
        "| --- |" + " --- |" * 11,
    ]
    order = [one.searcher for one in found["epochs"].standings]
    for name in order:
        cells = []
        for standings in by_unit.values():
            one = standings.get(name)
            cells.append(
                "" if one is None else f"{_points(one.regret)} {_range(one.low, one.high)}"
            )
        unit: Unit = "epochs" if RIVALS[name].by_epochs else "models"
        standing = by_unit[unit][name]
        pair = pairs[unit].get(name)
        cells += [f"{standing.reward:.2%}", f"{standing.rank:.1f}"]
        cells += ["", ""] if pair is None else [_signed(pair.difference), _p(pair.corrected)]
        cells += _spent(results, ground, models, name)
        rows.append(f"| {RIVALS[name].title} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _spent(results: StudyResults, ground: str, models: int, name: str) -> list[str]:
    races = list(results.races[ground][models][name].values())
    mean = {
        what: sum(getattr(race, what) for race in races) / len(races)
        for what in ("models", "epochs", "flop")
    }
    outside = sum(race.outside for race in races) / sum(race.models for race in races)
    time = duration(device_seconds(mean["flop"]))
    return [f"{mean['models']:,.0f}", f"{mean['epochs']:,.0f}", time, f"{outside:.1%}"]


def findings(results: StudyResults, ground: str, models: int) -> str:
    """What the table says, in sentences."""
    equal = results.comparison(ground, models, "epochs")
    best, worst = equal.standings[0], equal.standings[-1]
    said = [
        f"At equal epochs {RIVALS[best.searcher].title} is first, with a regret of "
        f"{_points(best.regret)} points, and {RIVALS[worst.searcher].title} last, with "
        f"{_points(worst.regret)}."
    ]
    if equal.friedman is not None:
        said.append(f"That all rank alike: p = {_p(equal.friedman)} (Friedman).")
    for what, verb in (("better", "is better than"), ("worse", "is worse than")):
        names = [RIVALS[one.second].title for one in equal.pairs if one.verdict == what]
        if names:
            said.append(f"Q-learning {verb} {', '.join(names)} (p < 0.05 by Holm).")
    names = [RIVALS[one.second].title for one in equal.pairs if one.verdict == "not told apart"]
    if names:
        said.append(f"It is not told apart from {', '.join(names)}.")
    return " ".join(said)


def sections(results: StudyResults) -> Iterator[str]:
    """A heading of third level for each ground and budget, the largest first."""
    for ground in results.races:
        for models in sorted(results.races[ground], reverse=True):
            if len(results.races[ground][models]) < 2:
                continue
            seeds = len(results.races[ground][models][Q_LEARNING])
            yield f"### {TITLES[ground]}: {models:,} models, {seeds} seeds"
            if GROUNDS[ground].failure_share is None:
                yield f"![Best net so far](rivals/{figure_name(ground, models)})"
            yield comparison(results, ground, models)
            yield findings(results, ground, models)


def figure_name(ground: str, models: int) -> str:
    """The file of a race's figure."""
    return f"race-{ground}-{models}.svg"


def _pair(found: Comparison, second: str) -> Paired:
    return next(one for one in found.pairs if one.second == second)


def _points(value: float) -> str:
    return f"{100 * value:.2f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}"


def _range(low: float, high: float) -> str:
    return f"[{_points(low)}, {_points(high)}]"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
