"""2n iterations are n, a snapshot, and n more: within the embedded caffe, and across the two."""

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.solvers.runs import (
    FORMATS,
    PASS,
    RULES,
    Pycaffe,
    assert_close,
    state_path,
    train_ours,
    train_real,
    write_solver,
)

pytestmark = pytest.mark.conformance

# Whole passes, since the data start again. Two steps of the rate are behind a snapshot: a solver
# that forgot them would make up for them one an iteration.
N = 2 * PASS
POLICY = (
    'weight_decay: 0.0005 lr_policy: "multistep" gamma: 0.5 stepvalue: 4 stepvalue: 7 stepvalue: 14'
)
CASES = [(rule, kind) for rule in RULES for kind in FORMATS]


def _settings(rule: str, kind: str) -> str:
    return f"{RULES[rule]} {POLICY} max_iter: {2 * N} snapshot_format: {kind}"


@pytest.mark.parametrize(("rule", "kind"), CASES)
def test_resuming_is_as_if_never_stopped(rule: str, kind: str, folder: Path) -> None:
    """Bit for bit: weights, history, rates and losses."""
    path = write_solver(folder, "ours", _settings(rule, kind))
    whole = train_ours(path, 2 * N, kind=kind)
    first = train_ours(path, N, kind=kind)
    second = train_ours(path, N, resume=state_path(path, N, kind), kind=kind)
    assert whole.rates.tolist() == [*first.rates, *second.rates]
    assert whole.losses.tolist() == [*first.losses, *second.losses]
    for key, values in whole.params.items():
        np.testing.assert_array_equal(second.params[key], values, err_msg=key)
    for mine, values in zip(second.history, whole.history, strict=True):
        np.testing.assert_array_equal(mine, values)
    assert any(np.abs(values).max() > 0 for values in whole.history)


@pytest.mark.parametrize(("rule", "kind"), CASES)
def test_each_program_resumes_the_others_snapshot(
    rule: str, kind: str, folder: Path, pycaffe_run: Pycaffe
) -> None:
    """From one snapshot both end at the same losses, weights and history, whoever wrote it."""
    ours = write_solver(folder, "ours", _settings(rule, kind))
    real = write_solver(folder, "real", _settings(rule, kind))
    train_ours(ours, N, kind=kind)
    train_real(pycaffe_run, real, N, kind=kind)
    for snapshot in (state_path(ours, N, kind), state_path(real, N, kind)):
        mine = train_ours(ours, N, resume=snapshot, kind=kind)
        theirs = train_real(pycaffe_run, real, N, resume=snapshot, kind=kind)
        assert_close(mine, theirs)
