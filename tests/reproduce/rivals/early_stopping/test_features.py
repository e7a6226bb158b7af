"""Partial curves as numbers, against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.audit.authors_data.files import LearningCurve
from reproduce.rivals.early_stopping.features import tabulate

CURVE = LearningCurve("[SM(10)]", 0.0004, (0.25, 0.5, 0.625, 0.75, 0.75), 1234, 7)
ACCURACY = st.floats(0, 1, allow_nan=False)


@pytest.mark.parametrize(
    ("observed", "of_the_curve"),
    [
        (1, [0.25]),
        (2, [0.25, 0.5, 0.25]),
        (3, [0.25, 0.5, 0.625, 0.25, 0.125, -0.125]),
        (4, [0.25, 0.5, 0.625, 0.75, 0.25, 0.125, 0.125, -0.125, 0.0]),
    ],
)
def test_accuracies_and_their_first_and_second_differences_then_weights_layers_and_rate(
    observed: int, of_the_curve: list[float]
) -> None:
    (row,) = tabulate([CURVE]).features(observed)
    assert row.tolist() == [*of_the_curve, 1234, 7, 0.0004]


def test_what_is_to_be_predicted_is_the_accuracy_after_the_last_epoch_not_the_best() -> None:
    falling = LearningCurve("[SM(10)]", 0.001, (0.25, 0.75, 0.5), 1, 1)
    assert tabulate([falling]).final.tolist() == [0.5]


@given(st.lists(ACCURACY, min_size=5, max_size=5), st.integers(1, 4), st.data())
def test_no_epoch_after_those_observed_has_a_part_in_the_features(
    accuracies: list[float], observed: int, data: st.DataObject
) -> None:
    later = data.draw(st.lists(ACCURACY, min_size=5 - observed, max_size=5 - observed))
    one = LearningCurve("[SM(10)]", 0.001, tuple(accuracies), 1, 1)
    other = LearningCurve("[SM(10)]", 0.001, (*accuracies[:observed], *later), 1, 1)
    table = tabulate([one, other])
    np.testing.assert_array_equal(*table.features(observed))


@pytest.mark.parametrize("observed", [-1, 0, 5])
def test_epochs_that_leave_nothing_to_see_or_to_predict_are_refused(observed: int) -> None:
    with pytest.raises(ValueError, match=f"{observed} epochs are not within 1 to 4"):
        tabulate([CURVE]).features(observed)


def test_curves_of_different_lengths_make_no_table() -> None:
    with pytest.raises(ValueError, match="same number of epochs"):
        tabulate([CURVE, LearningCurve("[SM(10)]", 0.001, (0.5,), 1, 1)])
