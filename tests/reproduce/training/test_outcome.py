"""A trial's record, and the words that mean memory ran out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reproduce.training.outcome import Outcome, TrialResult, is_out_of_memory

RESULTS = st.builds(
    TrialResult,
    outcome=st.sampled_from(Outcome),
    accuracies=st.lists(st.floats(0, 1)).map(tuple),
    learning_rate=st.floats(1e-9, 10),
    restarts=st.integers(0, 5),
    iterations=st.integers(0, 10**9),
    seconds=st.floats(0, 1e6),
    trainer=st.text(),
    message=st.text(),
)


@settings(deadline=None)
@given(RESULTS)
def test_json_round_trip(result: TrialResult) -> None:
    assert TrialResult.from_json(result.to_json()) == result


def test_best_and_last() -> None:
    result = TrialResult(Outcome.FINISHED, (0.5, 0.9, 0.8), 0.001, 0, 30, 1.0, "caffe")
    assert (result.best_accuracy, result.last_accuracy) == (0.9, 0.8)
    empty = TrialResult(Outcome.CRASHED, (), 0.001, 0, 0, 1.0, "caffe")
    assert (empty.best_accuracy, empty.last_accuracy) == (None, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"outcome": "lost", "accuracies": []}', "{"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a trial's result"):
        TrialResult.from_json(text)


@pytest.mark.parametrize(
    "message",
    [
        "Check failed: error == cudaSuccess (2 vs. 0)  out of memory",
        "Check failed: error == cudaSuccess (2 vs. 0)",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 4000000000000 bytes.",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "MemoryError",
        "Check failed: status == CUBLAS_STATUS_SUCCESS (3 vs. 0)  CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_out_of_memory(message: str) -> None:
    assert is_out_of_memory(message)


@pytest.mark.parametrize(
    "message",
    [
        "Check failed: error == cudaSuccess (10 vs. 0)  invalid device ordinal",
        "Check failed: mdb_status == 0 (2 vs. 0) No such file or directory",
        "Cannot use GPU in CPU-only Caffe: check mode.",
    ],
)
def test_not_out_of_memory(message: str) -> None:
    assert not is_out_of_memory(message)
