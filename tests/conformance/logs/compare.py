"""What it means that two runs said the same."""

import signal

import numpy as np

from tests.conformance.commands import Run
from tests.conformance.logs.normalize import read


def same_log(ours: Run, real: Run, tolerance: float = 1e-4) -> None:
    """The same lines, byte for byte, the same exit status, and numbers within a tolerance.

    A fatal line of ours may say more than real Caffe's, behind the same words; and real Caffe's
    prefetching thread, which is ahead, may say more than ours.
    """
    a, b = read(ours.log), read(real.log)
    fatal = b.fatal
    assert ours.status == real.status, ours.log[-2000:]
    assert bool(fatal) == (real.status == -signal.SIGABRT)
    if fatal:
        assert a.fatal.startswith(fatal.rstrip()), (a.fatal, fatal)
        a, b = read(_without_fatal(ours.log)), read(_without_fatal(real.log))
    assert a.lines == b.lines
    assert a.prefetching <= b.prefetching
    np.testing.assert_allclose(a.numbers, b.numbers, rtol=tolerance, atol=1e-6)
    assert ours.stdout == real.stdout == ""


def _without_fatal(log: str) -> str:
    return "\n".join(line for line in log.splitlines() if not line.startswith("F"))
