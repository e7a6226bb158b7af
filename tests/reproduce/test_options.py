"""What a run is given beside its experiment."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.options import Options, gpu_list
from reproduce.run import RunError

HERE = Options(Path("/data"), Path("/cache"))


@pytest.mark.parametrize(
    ("text", "gpus"),
    [("", ()), ("0", (0,)), ("0,1", (0, 1)), (" 3 , 0 ", (3, 0)), ("1,", (1,)), (",", ())],
)
def test_a_list_of_gpus(text: str, gpus: tuple[int, ...]) -> None:
    assert gpu_list(text) == gpus


@pytest.mark.parametrize("text", ["all", "0;1", "0 1", "-1", "1.5", "0,x", "0x1", "²", "gpu0"])
def test_what_is_no_list_of_gpus_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RunError, match=r"^GPUs are numbers such as 0,1, not ") as refused:
        gpu_list(text)
    assert repr(text) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@given(st.lists(st.integers(0, 99)))
def test_a_list_of_gpus_is_read_as_it_was_written(gpus: list[int]) -> None:
    assert gpu_list(",".join(map(str, gpus))) == tuple(gpus)


@given(st.text("0123456789,;- xg²٣", max_size=8))
def test_any_text_is_a_list_of_gpus_or_refused(text: str) -> None:
    try:
        gpus = gpu_list(text)
    except RunError:
        return
    assert all(gpu >= 0 for gpu in gpus)


@given(
    st.builds(
        Options,
        data=st.sampled_from([Path("/data"), Path("/with space/ä")]),
        cache=st.just(Path("/cache")),
        gpus=st.lists(st.integers(0, 9), max_size=3).map(tuple),
        slots_per_gpu=st.integers(1, 4),
        threads=st.none() | st.integers(1, 64),
        executor=st.sampled_from(["local", "ray"]),
        ray_address=st.none() | st.just("auto"),
        gpus_per_trial=st.floats(0, 8),
        finals=st.booleans(),
        yes=st.booleans(),
    )
)
def test_a_run_keeps_its_options_but_for_the_consent_to_take_long(options: Options) -> None:
    kept = Options.from_json(json.loads(json.dumps(options.to_json())))
    assert not kept.yes
    assert {**vars(kept), "yes": None} == {**vars(options), "yes": None}


def test_options_of_an_earlier_version_have_the_defaults_of_what_it_lacked() -> None:
    assert Options.from_json({"data": "/data", "cache": "/cache", "gpus": [1]}) == Options(
        Path("/data"), Path("/cache"), (1,)
    )


@pytest.mark.parametrize(
    ("options", "slots", "device"),
    [
        ({}, 1, "the CPU"),
        ({"cpu_slots": 3}, 3, "the CPU"),
        ({"gpus": (0, 2)}, 2, "GPU 0, 2"),
        ({"gpus": (0, 2), "slots_per_gpu": 2, "cpu_slots": 3}, 4, "GPU 0, 2"),
        ({"executor": "ray"}, 1, "a Ray cluster (1 CPUs a trial)"),
        (
            {"executor": "ray", "gpus_per_trial": 0.5, "cpus_per_trial": 2.0},
            1,
            "a Ray cluster (0.5 GPUs, 2 CPUs a trial)",
        ),
    ],
)
def test_where_training_runs(options: dict[str, object], slots: int, device: str) -> None:
    given_ = Options(HERE.data, HERE.cache, **options)  # type: ignore[arg-type]
    assert given_.local_slots == slots
    assert given_.device == device
