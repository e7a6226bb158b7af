"""Normalization: each step against an independent formula in float64, chains, streaming."""

import itertools
import math
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from data_prep.errors import DataError
from data_prep.normalize import STEPS, Normalization, Raw

Floats = NDArray[np.float64]
Oracle = Callable[[Floats, Floats], Floats]  # training images, images → normalized images

PER_IMAGE = ["gcn", "lcn", "lcn-released", "whiten"]
OF_THE_TRAINING_SET = ["mean", "gcn-released"]


def pictures(count: int, channels: int = 3, size: int = 32, seed: int = 0) -> Raw:
    """Random but locally correlated images, from faint to full contrast."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 1, (count, channels, size // 4, size // 4)).repeat(4, 2).repeat(4, 3)
    noise = rng.uniform(-0.2, 0.2, (count, channels, size, size))
    contrast = rng.uniform(0.02, 1, (count, 1, 1, 1))
    return np.clip(128 + 200 * contrast * (coarse - 0.5 + noise), 0, 255).astype(np.uint8)


def gaussian(sigma: float) -> Floats:
    window = np.exp(-(np.arange(-3.0, 4.0) ** 2) / 2 / sigma**2)
    return np.asarray(window / window.sum())


def scipy_blur(image: Floats, sigma: float, mode: str) -> Floats:
    """Of one image, C×H×W; SciPy's "mirror" is OpenCV's BORDER_REFLECT_101."""
    down = correlate1d(image, gaussian(sigma), axis=1, mode=mode)
    return np.asarray(correlate1d(down, gaussian(sigma), axis=2, mode=mode))


def mean(train: Floats, images: Floats) -> Floats:
    return np.asarray(images - train.mean(axis=0))


def gcn(_: Floats, images: Floats) -> Floats:
    """Deep Learning, equation 12.3, term by term; s = 1, λ = 0, ε = 1e-8."""
    out = np.empty_like(images)
    for number, image in enumerate(images):
        average = math.fsum(image.flat) / image.size
        contrast = math.sqrt(math.fsum((x - average) ** 2 for x in image.flat) / image.size)
        out[number] = (image - average) / max(1e-8, contrast)
    return out


def gcn_released(train: Floats, images: Floats) -> Floats:
    """The released gcn_whiten: per-pixel standardisation, std floor 0.001."""
    std = np.maximum(0.001, np.std(train, axis=0))
    return np.asarray((images - np.mean(train, axis=0)) / std)


def lcn(_: Floats, images: Floats) -> Floats:
    """Jarrett et al. 2009: subtractive, then divisive normalization, channel by channel."""
    out = np.empty_like(images)
    for number, image in enumerate(images):
        v = image - scipy_blur(image, 2.0, "constant")
        deviation = np.sqrt(scipy_blur(v * v, 2.0, "constant"))
        for channel in range(len(image)):
            c = max(deviation[channel].mean(), 1e-4)
            out[number, channel] = v[channel] / np.where(
                deviation[channel] > c, deviation[channel], c
            )
    return out


def lcn_released(_: Floats, images: Floats) -> Floats:
    """The released lcn_whiten, applied to the transposed image as its caller does."""
    out = np.empty_like(images)
    for number, image in enumerate(images):
        im = image.T  # W×H×C, the blur runs over the first two axes

        def blurred(values: Floats) -> Floats:
            for axis in (0, 1):
                values = correlate1d(values, gaussian(1.0), axis=axis, mode="mirror")
            return values

        local_std = np.maximum(0.001, np.sqrt(blurred(im * im)))
        out[number] = ((im - blurred(im)) / local_std).T
    return out


def whiten(_: Floats, images: Floats) -> Floats:
    flat = images.reshape(*images.shape[:2], -1)
    std = np.maximum(flat.std(axis=2), 1 / np.sqrt(flat.shape[2]))
    whitened = (flat - flat.mean(axis=2)[..., None]) / std[..., None]
    return np.asarray(whitened.reshape(images.shape))


ORACLES: dict[str, Oracle] = {
    "mean": mean,
    "gcn": gcn,
    "gcn-released": gcn_released,
    "lcn": lcn,
    "lcn-released": lcn_released,
    "whiten": whiten,
}


def oracle(names: Sequence[str], train: Raw, images: Raw) -> Floats:
    """The chain on whole arrays: each step sees the training set as the steps before left it."""
    fitted, out = train.astype(np.float64), images.astype(np.float64)
    for name in names:
        fitted, out = ORACLES[name](fitted, fitted), ORACLES[name](fitted, out)
    return out


def in_batches(images: Raw, cuts: Iterable[int]) -> Callable[[], Iterator[Raw]]:
    """The images divided at `cuts`, again and again."""
    return lambda: iter(np.split(images, sorted(cuts)))


def close(got: NDArray[np.floating], want: Floats, floor: float = 1e-6) -> None:
    """Equal to 1e-6, relative; near zero to `floor`."""
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=floor)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(STEPS))
def test_each_step_equals_its_formula(name: str, channels: int) -> None:
    train, test = pictures(150, channels), pictures(70, channels, seed=1)
    normalize = Normalization([name]).fit(in_batches(train, [1, 60]))
    for images in (train, test):
        got = normalize(images)
        assert got.dtype == np.float32
        assert got.shape == images.shape
        close(got, ORACLES[name](train.astype(float), images.astype(float)))


@pytest.mark.parametrize("name", list(STEPS))
def test_steps_give_float64(name: str) -> None:
    """So that nothing is rounded between the steps of a chain; uint8 squares do not overflow."""
    images = pictures(5)
    got = STEPS[name].fit([images])(images)
    assert got.dtype == np.float64
    close(got, ORACLES[name](images.astype(float), images.astype(float)), floor=1e-9)


@pytest.mark.parametrize("value", [1, 255])
def test_the_released_lcn_of_a_lone_pixel_has_a_closed_form(value: int) -> None:
    """At (y, x) from it √blur(x²) is v·√(wy·wx), so the size of the pixel v cancels."""
    image = np.zeros((1, 1, 15, 15), np.uint8)
    image[0, 0, 7, 7] = value
    tail = [math.exp(-0.5), math.exp(-2), math.exp(-4.5)]
    w = [x / (1 + 2 * sum(tail)) for x in (1, *tail)] + [0] * 4
    want = np.zeros((15, 15))
    for y, x in itertools.product(range(-7, 8), repeat=2):
        own, weight = float(y == x == 0), w[abs(y)] * w[abs(x)]
        rms = max(0.001, value * math.sqrt(weight))
        want[7 + y, 7 + x] = (own - weight) * value / rms
    close(Normalization(["lcn-released"]).fit(list)(image)[0, 0], want)


def border_101(place: int, length: int) -> int:
    """OpenCV's borderInterpolate for BORDER_REFLECT_101."""
    if length == 1:
        return 0
    while not 0 <= place < length:
        place = -place if place < 0 else 2 * (length - 1) - place
    return place


def looped_blur(image: Floats, sigma: float, mirror: bool) -> Floats:
    """Of one channel: every window pixel by pixel, in two dimensions at once."""
    height, width = image.shape
    out = np.zeros(image.shape)
    for y, x in np.ndindex(image.shape):
        for dy, dx in itertools.product(range(-3, 4), repeat=2):
            row, column = y + dy, x + dx
            if mirror:
                row, column = border_101(row, height), border_101(column, width)
            if 0 <= row < height and 0 <= column < width:
                out[y, x] += gaussian(sigma)[dy + 3] * gaussian(sigma)[dx + 3] * image[row, column]
    return out


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (3, 2), (4, 4), (9, 6)])
def test_lcn_of_images_smaller_than_its_window(size: tuple[int, int]) -> None:
    """The mirror is reflected again, and what lies outside is 0, however small the image."""
    image = np.random.default_rng(2).integers(0, 256, size).astype(np.uint8)
    x = image.astype(np.float64)

    rms = np.sqrt(looped_blur(x**2, 1.0, mirror=True))
    want = (x - looped_blur(x, 1.0, mirror=True)) / np.maximum(0.001, rms)
    close(Normalization(["lcn-released"]).fit(list)(image[None, None])[0, 0], want)

    v = x - looped_blur(x, 2.0, mirror=False)
    std = np.sqrt(looped_blur(v**2, 2.0, mirror=False))
    want = v / np.maximum(np.maximum(std, std.mean()), 1e-4)
    close(Normalization(["lcn"]).fit(list)(image[None, None])[0, 0], want)


@pytest.mark.parametrize("name", list(STEPS))
@pytest.mark.parametrize("value", [0, 1, 77, 255])
def test_constant_images_become_zero(name: str, value: int) -> None:
    """Never NaN or infinite; "lcn" sees an edge where the image ends and 0 begins."""
    images = np.full((4, 3, 32, 32), value, np.uint8)
    got = Normalization([name]).fit(lambda: [images])(images)
    assert np.isfinite(got).all()
    if name == "lcn" and value:
        got = got[:, :, 3:-3, 3:-3]
    close(got, np.zeros(got.shape))


def test_floors_are_those_of_the_released_code() -> None:
    """One faint pixel in flat surroundings: its std, 0.124, is just below 1/√64."""
    faint = np.full((1, 1, 8, 8), 100, np.uint8)
    faint[0, 0, 4, 4] = 101
    whitened = Normalization(["whiten"]).fit(list)(faint)[0, 0]
    assert whitened[4, 4] == pytest.approx((1 - 1 / 64) / 0.125, rel=1e-6)

    train = np.full((2, 1, 8, 8), 100, np.uint8)
    standardised = Normalization(["gcn-released"]).fit(lambda: [train])(faint)[0, 0]
    assert standardised[4, 4] == pytest.approx(1000)
    assert standardised[0, 0] == 0


@pytest.mark.parametrize(("name", "scale"), [("gcn", 1e-11), ("lcn", 1e-7)])
def test_floors_hold_back_the_faintest_contrast(name: str, scale: float) -> None:
    """Where the contrast is below the floor, the result is proportional to it, as written above."""
    faint = pictures(5) * scale
    want = ORACLES[name](faint, faint)
    assert 0 < np.abs(want).max() < 0.5
    close(STEPS[name].fit([])(faint), want, floor=1e-9)


CHAINS = [
    ("gcn", "lcn"),
    ("lcn-released", "gcn-released"),
    ("whiten", "mean"),
    ("mean", "gcn-released"),
    ("gcn-released", "lcn"),
    ("lcn-released", "gcn-released", "mean"),
]


@pytest.mark.parametrize("names", CHAINS, ids=" ".join)
def test_each_step_is_fitted_on_the_output_of_those_before(names: tuple[str, ...]) -> None:
    train, test = pictures(90), pictures(10, seed=1)
    got = Normalization(names).fit(in_batches(train, [30, 31]))(test)
    close(got, oracle(names, train, test), floor=1e-5)


def test_the_order_of_the_names_counts() -> None:
    train, test = pictures(90), pictures(10, seed=1)
    first, second = (
        Normalization(names).fit(lambda: [train])(test)
        for names in (("lcn-released", "gcn-released"), ("gcn-released", "lcn-released"))
    )
    assert np.abs(first - second).max() > 0.1


SMALL = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
)


@settings(max_examples=60)
@given(SMALL, st.sampled_from([("mean",), ("gcn-released",), *CHAINS]), st.data())
def test_any_division_into_batches_gives_the_statistics_of_the_whole(
    images: Raw, names: tuple[str, ...], data: st.DataObject
) -> None:
    """Empty batches included."""
    cuts = data.draw(st.lists(st.integers(0, len(images)), max_size=6))
    streamed = Normalization(names).fit(in_batches(images, cuts))(images)
    whole = Normalization(names).fit(lambda: [images])(images)
    np.testing.assert_allclose(streamed, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", PER_IMAGE)
def test_per_image_steps_do_not_see_the_other_images(name: str) -> None:
    images = pictures(130)
    normalize = Normalization([name]).fit(list)
    together = normalize(images)
    for number in (0, 63, 64, 129):
        close(together[number], normalize(images[number : number + 1])[0].astype(np.float64))


def test_statistics_lose_no_digits_to_a_large_mean() -> None:
    """A mean ten million times the std: the textbook E[x²] − E[x]² gives nonsense here."""
    values = np.random.default_rng(5).normal(0, 1, (300, 1, 4, 4)) + 1e7
    step = STEPS["gcn-released"].fit(np.split(values, range(7, 300, 7)))
    close(step(values), gcn_released(values, values))


@pytest.mark.parametrize("names", [(n,) for n in PER_IMAGE] + [("gcn", "lcn"), ()], ids=" ".join)
def test_chains_of_per_image_steps_read_no_training_images(names: tuple[str, ...]) -> None:
    def unreadable() -> Iterator[Raw]:
        pytest.fail("the training images were read")

    images = pictures(3)
    close(Normalization(names).fit(unreadable)(images), oracle(names, images, images))


def test_training_images_are_read_once_for_each_step_with_statistics() -> None:
    images, readings = pictures(4), []

    def batches() -> Iterator[Raw]:
        readings.append(True)
        yield images

    Normalization(["whiten", "mean", "lcn", "gcn-released"]).fit(batches)
    assert len(readings) == 2


@pytest.mark.parametrize("name", OF_THE_TRAINING_SET)
def test_empty_batches_count_for_nothing(name: str) -> None:
    images = pictures(4)
    step = STEPS[name].fit([images[:0], images, images[:0]])
    close(step(images), ORACLES[name](images.astype(float), images.astype(float)))


def test_memory_is_bounded_by_a_batch() -> None:
    """40 batches of 256 images pass through; all of them in float64 would take 80 MB."""

    def batches() -> Iterator[Raw]:
        for seed in range(40):
            yield np.random.default_rng(seed).integers(0, 256, (256, 1, 32, 32), dtype=np.uint8)

    tracemalloc.start()
    Normalization(["lcn-released", "gcn-released"]).fit(batches)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


def test_large_images_are_normalized_few_at_a_time() -> None:
    """64 of 3×256×256 would be 100 MB as float64, several times."""
    images = np.zeros((64, 3, 256, 256), np.uint8)
    normalize = Normalization(["gcn"]).fit(list)
    tracemalloc.start()
    out = normalize(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - out.nbytes < 10e6


@pytest.mark.parametrize("name", list(STEPS))
def test_the_images_given_are_left_as_they_are(name: str) -> None:
    images = pictures(3)
    raw, floats = images.copy(), images.astype(np.float64)
    Normalization([name]).fit(lambda: [raw])(raw)
    STEPS[name].fit([floats])(floats)
    assert np.array_equal(raw, images)
    assert np.array_equal(floats, images)


@pytest.mark.parametrize("name", list(STEPS))
def test_no_images_give_no_images(name: str) -> None:
    normalize = Normalization([name]).fit(lambda: [pictures(2)])
    assert normalize(pictures(2)[:0]).shape == (0, 3, 32, 32)


def test_without_steps_pixels_stay_as_they_are() -> None:
    images = pictures(3)
    got = Normalization([]).fit(list)(images)
    assert got.dtype == np.float32
    assert np.array_equal(got, images)


@pytest.mark.parametrize(
    ("chain", "value"),
    [
        ([], 128),
        (["lcn-released"], 128),
        (["whiten"], 128),
        (["whiten", "lcn-released"], 128),
        (["gcn-released"], 0),
        (["mean"], 0),
        (["mean", "lcn-released"], 0),
        (["whiten", "gcn-released"], 0),
        (["gcn"], 0),
        (["lcn"], 0),
        (["gcn", "lcn"], 0),
    ],
)
def test_padding_is_the_released_codes(chain: list[str], value: float) -> None:
    """lmdb_creator.py: 0 after its GCN or the mean's subtraction, otherwise 128. Paper: 0."""
    assert Normalization(chain).pad_value == value


def test_the_description_names_each_step_in_one_line() -> None:
    lines = Normalization(["lcn-released", "gcn"]).description
    assert [line.split(":")[0] for line in lines] == ["lcn-released", "gcn"]
    assert Normalization([]).description == []
    for name, step in STEPS.items():
        assert step.name == name
        assert "\n" not in step.describe


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("mean", ["mean image", "-ms"]),
        ("gcn", ["1e-8", "12.3", "unstated"]),
        ("gcn-released", ["0.001", "population", "-gcn"]),
        ("lcn", ["7×7", "σ 2", "1e-4", "zero border", "unstated"]),
        ("lcn-released", ["7×7", "σ 1", "0.001", "mirrored", "√blur(x²)"]),
        ("whiten", ["1/√(H·W)", "standard_whiten"]),
    ],
)
def test_descriptions_state_constants_and_source(name: str, facts: list[str]) -> None:
    assert [fact for fact in facts if fact not in STEPS[name].describe] == []


def test_an_unknown_step_is_named_beside_those_there_are() -> None:
    with pytest.raises(DataError, match="unknown normalization 'zca'; choose from mean, gcn, "):
        Normalization(["gcn", "zca"])


@pytest.mark.parametrize("name", OF_THE_TRAINING_SET)
def test_statistics_of_no_images_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"'{name}' takes statistics .* none; give at least one"):
        Normalization([name]).fit(lambda: [np.empty((0, 3, 8, 8), np.uint8)])


@pytest.mark.parametrize("name", OF_THE_TRAINING_SET)
def test_images_of_another_shape_are_refused(name: str) -> None:
    """Even where NumPy would stretch one to the other."""
    colour, grey = pictures(2), pictures(2, channels=1)
    with pytest.raises(DataError, match="fitted on 3×32×32 images and cannot take 1×32×32 ones"):
        Normalization([name]).fit(lambda: [colour])(grey)
    with pytest.raises(DataError, match="fitted on 3×32×32 images and cannot take 1×32×32 ones"):
        Normalization([name]).fit(lambda: [colour, grey])
