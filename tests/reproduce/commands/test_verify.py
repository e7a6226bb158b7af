"""`metaqnn verify`: a whole search computed again from its record."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest


def test_a_search_is_the_same_again(
    metaqnn: Any, finished: Any, finished_record: tuple[Any, ...]
) -> None:
    samples = len(finished_record[1])
    said = metaqnn("verify", finished.run)
    assert said.code == 0
    assert said.out == (
        f"{samples} samples drawn and {100 * samples} walks replayed again: samples, Q-values "
        "and random state are those of the record, bit for bit\n"
    )
    assert metaqnn("verify", finished.run, "--json").json == {
        "samples": samples,
        "imported": 0,
        "replays": 100 * samples,
        "difference": None,
    }


def test_a_dead_run_is_verified_as_far_as_it_went(metaqnn: Any, unfinished: Any) -> None:
    said = metaqnn("verify", unfinished.run, "--json")
    assert (said.code, said.json["difference"], said.json["samples"]) == (0, None, 2)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("UPDATE trials SET reward = reward + 1e-9 WHERE id = 2", "trial 2 has reward"),
        (
            "INSERT INTO q_changes (q_values) VALUES (x'00000000000000000000E83F')",
            "is 0.75 in the record",
        ),
        ("UPDATE samples SET epsilon = 0.1 WHERE id = 1", "trial 1 has ε 1, its first sample 0.1"),
        (
            "UPDATE trials SET architecture = '[C(64,3,1), SM(10)]' WHERE id = 1",
            "sample 1 is [C(64,3,1), SM(10)] in the record, ",
        ),
        ("DELETE FROM samples WHERE id = 1", "the numbers of the samples have gaps"),
    ],
)
def test_the_first_difference_is_told(
    metaqnn: Any, finished: Any, change: str, difference: str
) -> None:
    with sqlite3.connect(finished.run / "replay.sqlite") as db:
        db.execute(change)
    db.close()
    said = metaqnn("verify", finished.run)
    assert said.code == 1
    assert "; then a difference: " in said.out
    assert difference in said.out
    found = metaqnn("verify", finished.run, "--json")
    assert found.code == 1
    assert difference in found.json["difference"]


def test_there_must_be_a_run_to_verify(metaqnn: Any, tmp_path: Path) -> None:
    assert "holds no run: experiment.toml is missing" in metaqnn("verify", tmp_path).refusal


def test_a_file_that_is_no_replay_memory_is_named(metaqnn: Any, finished: Any) -> None:
    (finished.run / "replay.sqlite").write_bytes(b"no database at all" * 100)
    assert str(finished.run / "replay.sqlite") in metaqnn("verify", finished.run).refusal
