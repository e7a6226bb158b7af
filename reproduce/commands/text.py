"""What the reading commands print for people."""

from __future__ import annotations

from reproduce.display import duration
from reproduce.doctor import Finding
from reproduce.search.space import SpaceCounts
from reproduce.space_report import SpaceReport
from reproduce.status import Status

_MARKS = {"ok": "ok  ", "warning": "warn", "failure": "FAIL"}


def findings_text(findings: list[Finding]) -> str:
    """A line for each check, and a line for what to do."""
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.level]} {finding.check}: {finding.found}")
        if finding.remedy:
            lines.append(f"     {finding.remedy}")
    return "\n".join(lines) + "\n"


def space_text(report: SpaceReport) -> str:
    """The counts, what is left open, and the architectures asked about."""
    capped = report.capped
    lines = [
        f"{report.experiment}, preset {report.preset}: {_counts(report.counts)}",
        *(
            [
                f"    budget {capped.budget}, at most {capped.at_most:,} {capped.of}: "
                f"from {capped.low:.3g} to {capped.high:.3g} architectures"
            ]
            if capped
            else []
        ),
        *(f"    {name}: {_counts(counts)}" for name, counts in report.relaxed.items()),
        *(f"    unstated: {field}: {reason}" for field, reason in report.unstated.items()),
    ]
    for one in report.members:
        said = "is a member" if one.member else f"is no member: {one.broken_rule}"
        lines.append(f"{one.architecture} {said}")
    return "\n".join(lines) + "\n"


def _counts(counts: SpaceCounts) -> str:
    return (
        f"{counts.states:,} states, {counts.pairs:,} pairs of state and action "
        f"({counts.stochastic_pairs:,} stochastic), {counts.architectures:,} architectures "
        f"({counts.architectures:.4g})"
    )


def status_text(status: Status) -> str:
    """A run's state on a screen."""
    who = f" by {status.owner}" if status.owner else ""
    done = "predicted" if status.predicted else "trained"
    left = ""
    if status.seconds_left is not None and status.trained < status.wanted:
        left = f", about {duration(status.seconds_left)} left"
    lines = [
        f"{status.run}: {status.state}{who}",
        f"{status.experiment}, preset {status.preset}, budget {status.budget}, "
        f"seed {status.seed}; {done} by {status.trainer} on {status.device}",
        f"{status.trained} of {status.wanted} models {done}{left}",
    ]
    if status.predicted:
        lines.append("All rewards are predicted, no net was trained")
    if status.outside:
        lines.append(
            f"{len(status.outside):,} nets are outside the surrogate's range, their rewards are "
            "guesses: --json lists them"
        )
    for stage in status.stages:
        if stage.samples:
            mean = "" if stage.mean_reward is None else f", mean reward {stage.mean_reward:.4f}"
            lines.append(
                f"    ε {stage.epsilon:g}: {stage.trained} of {stage.wanted}, "
                f"{stage.samples} samples{mean}"
            )
    if status.outcomes:
        outcomes = ", ".join(f"{n} {name}" for name, n in sorted(status.outcomes.items()))
        lines.append(f"Outcomes: {outcomes}")
    for trial in status.under_way:
        where = f" on {trial.place}" if trial.place else ""
        loss = "" if trial.loss is None else f", loss {trial.loss:.4g}"
        last = f", accuracy {trial.accuracies[-1]:.4f}" if trial.accuracies else ""
        lines.append(
            f"Under way{where}: trial {trial.id}, {trial.architecture}, attempt {trial.attempt}, "
            f"iteration {trial.iteration}{loss}{last}"
        )
    if status.best is not None:
        lines.append(f"Best: {status.best}, reward {status.best_reward:.4f}")
    if status.finals:
        lines.append(f"Final trainings: {', '.join(status.finals)}")
    return "\n".join(lines) + "\n"
