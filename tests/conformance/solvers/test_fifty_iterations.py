"""Every solver under every learning rate policy, iteration by iteration, against real Caffe."""

from pathlib import Path

import pytest

from caffe_torch.solver import Solver
from tests.conformance.solvers.runs import (
    RULES,
    Array,
    Pycaffe,
    assert_close,
    parameters,
    train_ours,
    train_real,
    write_solver,
)

pytestmark = pytest.mark.conformance

# Parameters under which the rate falls, or rises, to less than half, or twice, of where it was.
POLICIES = {
    "fixed": "",
    "step": "gamma: 0.5 stepsize: 15",
    "exp": "gamma: 0.97",
    "inv": "gamma: 0.1 power: 0.75",
    "multistep": "gamma: 0.4 stepvalue: 12 stepvalue: 33",
    "poly": "power: 0.8",
    "sigmoid": "gamma: 0.15 stepsize: 20",
}

VARIANTS = {
    "SGD without momentum or decay": 'type: "SGD" base_lr: 0.1',
    "SGD L1": 'type: "SGD" base_lr: 0.05 momentum: 0.5 weight_decay: 0.002 '
    'regularization_type: "L1"',
    "SGD clipped": 'type: "SGD" base_lr: 0.1 momentum: 0.9 clip_gradients: 0.5',
    "SGD accumulated": 'type: "SGD" base_lr: 0.05 momentum: 0.9 iter_size: 3 weight_decay: 0.001',
    "SGD accumulated, clipped, L1": 'type: "SGD" base_lr: 0.05 momentum: 0.9 iter_size: 2 '
    'clip_gradients: 1 weight_decay: 0.002 regularization_type: "L1"',
    "Nesterov with little momentum": 'type: "Nesterov" base_lr: 0.05 momentum: 0.3',
    "Nesterov accumulated": 'type: "Nesterov" base_lr: 0.05 momentum: 0.9 iter_size: 2',
    "AdaGrad L1": 'type: "AdaGrad" base_lr: 0.02 delta: 0.001 weight_decay: 0.002 '
    'regularization_type: "L1"',
    "RMSProp of long memory": 'type: "RMSProp" base_lr: 0.002 rms_decay: 0.99 delta: 0.001',
    "AdaDelta clipped": 'type: "AdaDelta" base_lr: 2 momentum: 0.9 delta: 1e-4 clip_gradients: 0.5',
    "Adam with its own betas and delta": 'type: "Adam" base_lr: 0.002 momentum: 0.8 '
    "momentum2: 0.99 delta: 0.001",
    "Adam without momentum": 'type: "Adam" base_lr: 0.002 momentum: 0 momentum2: 0.999',
    "Adam L1, accumulated": 'type: "Adam" base_lr: 0.002 momentum: 0.9 weight_decay: 0.002 '
    'regularization_type: "L1" iter_size: 2',
    "solver_type": "solver_type: ADAM base_lr: 0.002 momentum: 0.9",
}


@pytest.fixture(scope="module")
def start(folder: Path) -> dict[str, Array]:
    """The weights that every run starts from."""
    return parameters(Solver.from_file(str(write_solver(folder, "start", RULES["SGD"]))).net)


def _compare(folder: Path, pycaffe: Pycaffe, settings: str, start: dict[str, Array]) -> None:
    settings += " max_iter: 50"
    real = train_real(pycaffe, write_solver(folder, "real", settings), 50, start)
    ours = train_ours(write_solver(folder, "ours", settings), 50, start)
    assert real.losses[-5:].mean() < real.losses[:5].mean(), "it does not learn"
    assert_close(ours, real)
    if 'lr_policy: "fixed"' not in settings:
        assert max(real.rates) > 2 * min(real.rates), "the rate hardly changes"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rule", RULES)
def test_rule_and_policy(
    rule: str, policy: str, folder: Path, start: dict[str, Array], pycaffe_run: Pycaffe
) -> None:
    """From the same weights, on the same batches: rates, losses, weights and history agree."""
    policy_settings = f'lr_policy: "{policy}" {POLICIES[policy]}'
    _compare(folder, pycaffe_run, f"{RULES[rule]} weight_decay: 0.0005 {policy_settings}", start)


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name: str, folder: Path, start: dict[str, Array], pycaffe_run: Pycaffe) -> None:
    """The same for regularization, clipping, accumulation and other constants of the rules."""
    _compare(folder, pycaffe_run, f'{VARIANTS[name]} lr_policy: "fixed"', start)
