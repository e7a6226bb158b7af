"""The searchers compared, as Markdown: tables, and sentences made of their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reproduce.display import duration
from reproduce.published_results import NAMES
from reproduce.rivals.comparison import UNITS, Comparison, Paired, Verdict
from reproduce.rivals.plan import GROUNDS, Plan
from reproduce.rivals.race import Race, device_seconds
from reproduce.rivals.results import StudyResults
from reproduce.rivals.searchers import RIVALS

TITLES = {
    name: NAMES[ground.data_set] + (", all nets learn" if ground.failure_share == 0 else "")
    for name, ground in GROUNDS.items()
}


def searchers(plan: Plan) -> str:
    """Who searches, and how each is told the tree."""
    rows = ["| searcher | what it is | at most, models | seeds |", "| --- | --- | --- | --- |"]
    for name in plan.searchers:
        one = RIVALS[name]
        most = "" if one.most is None else f"{one.most:,}"
        rows.append(f"| {one.title} | {one.how} | {most} | {plan.seeds_of(name)} |")
    return "\n".join(rows)


def verdict(results: StudyResults, ground: str, models: int) -> str:
    """Whether Q-learning beats random search on a ground, in one sentence."""
    pair = _pair(results.comparison(ground, models, "models"), "random")
    where = f"{TITLES[ground]}, {models:,} models"
    return (
        f"**{where}: Q-learning {_VERBS[pair.verdict]} random search**, "
        f"by {_signed(pair.difference)} points ({_signed(pair.low)} to {_signed(pair.high)}) of "
        f"predicted accuracy; d_z = {pair.standardized:+.2f}; better in {pair.wins} of "
        f"{pair.seeds} seeds, worse in {pair.losses}; p = {_p(pair.corrected)}."
    )


_VERBS: dict[Verdict, str] = {
    "better": "beats",
    "worse": "loses to",
    "not told apart": "is not told apart from",
    "too few seeds": "has too few seeds to be told apart from",
}


def comparison(results: StudyResults, ground: str, models: int) -> str:
    """The table of a budget: regret, and Q-learning's lead, where all spent the same."""
    found = {unit: results.comparison(ground, models, unit) for unit in UNITS}
    standings = {unit: {one.searcher: one for one in found[unit].standings} for unit in UNITS}
    pairs = {unit: {one.second: one for one in found[unit].pairs} for unit in UNITS}
    rows = [
        "| searcher | equal models: regret | rank | Q-learning less it | p | equal epochs: regret "
        "| Q-learning less it | p | equal device-seconds: regret | accuracy seen | spent: models "
        "| epochs | device time | out of range |",
        "| --- |" + " --- |" * 13,
    ]
    order = [one.searcher for one in found["models"].standings]
    order += [one.searcher for one in found["epochs"].standings if one.searcher not in order]
    for name in order:
        cells = []
        for unit in UNITS:
            one, pair = standings[unit].get(name), pairs[unit].get(name)
            cells.append(f"{_points(one.regret)} {_range(one.low, one.high)}" if one else "")
            if unit == "models":
                cells.append(f"{one.rank:.1f}" if one else "")
            if unit != "flop":
                cells += [_signed(pair.difference), _p(pair.corrected)] if pair else ["", ""]
        races = list(results.races[ground][models][name].values())
        rows.append(f"| {RIVALS[name].title} | {' | '.join([*cells, *_spent(races)])} |")
    return "\n".join(rows)


def _spent(races: Sequence[Race]) -> list[str]:
    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(races)

    outside = [race.outside / race.models for race in races if race.outside is not None]
    return [
        f"{mean(race.improvements[-1].reward for race in races):.2%}",
        f"{mean(race.models for race in races):,.0f}",
        f"{mean(race.epochs for race in races):,.0f}",
        duration(device_seconds(mean(race.flop for race in races))),
        f"{mean(outside):.1%}" if len(outside) == len(races) else "",
    ]


def findings(results: StudyResults, ground: str, models: int) -> str:
    """What the table says, in sentences."""
    equal, epochs = (results.comparison(ground, models, unit) for unit in ("models", "epochs"))
    best, worst = equal.standings[0], equal.standings[-1]
    said = [
        f"At equal models {_title(best.searcher)} is first, with a regret of "
        f"{_points(best.regret)} points, and {_title(worst.searcher)} last, with "
        f"{_points(worst.regret)} (n = {best.seeds})."
    ]
    if equal.friedman is not None:
        said.append(f"That all rank alike: p = {_p(equal.friedman)} (Friedman).")
    said += _verdicts(equal.pairs, "")
    in_part = [one for one in epochs.pairs if RIVALS[one.second].by_epochs]
    said += _verdicts(in_part, "At equal epochs ")
    return " ".join(said)


def _verdicts(pairs: Sequence[Paired], where: str) -> Iterator[str]:
    for verdict in _VERBS:
        names = [_title(one.second) for one in pairs if one.verdict == verdict]
        if names:
            yield f"{where}Q-learning {_VERBS[verdict]} {', '.join(names)}."


def _title(name: str) -> str:
    return RIVALS[name].title


def sections(results: StudyResults) -> Iterator[str]:
    """A heading of third level for each ground and budget, the largest first."""
    for ground in results.races:
        for models in sorted(results.races[ground], reverse=True):
            if len(results.races[ground][models]) < 2:
                continue
            yield f"### {TITLES[ground]}: {models:,} models"
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
