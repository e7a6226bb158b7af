"""Where the tests find what is not in the repository: reference material and real Caffe."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is decides no test; else as hypothesis would have it, here or in CI.
settings.register_profile(
    "unhurried", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
)
settings.load_profile("unhurried")

REPOSITORY = Path(__file__).resolve().parent.parent


def _missing(what: str, promise: str) -> None:
    """Skip, or fail where the environment promised that it is there."""
    if os.environ.get(promise) == "1":
        pytest.fail(f"{promise}=1, but {what} is missing")
    pytest.skip(f"{what} is not on this machine")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference material: REFERENCE_DIR, else `shared` beside the checkout."""
    folder = Path(os.environ.get("REFERENCE_DIR", REPOSITORY.parent / "shared"))
    if not (folder / "README.md").is_file():
        _missing(f"the reference material ({folder.name}/README.md)", "REQUIRE_REFERENCE")
    return folder


@pytest.fixture(scope="session")
def caffe_prefix() -> Path:
    """The prefix of a real Caffe: CAFFE_PREFIX, else `.caffe`, where `make caffe` puts it."""
    prefix = Path(os.environ.get("CAFFE_PREFIX", REPOSITORY / ".caffe"))
    if not (prefix / "wrap" / "caffe").is_file():
        _missing("real Caffe (run `make caffe`)", "REQUIRE_CAFFE")
    return prefix


@pytest.fixture(scope="session")
def real_caffe(caffe_prefix: Path) -> Path:
    """The real `caffe` command."""
    return caffe_prefix / "wrap" / "caffe"


@pytest.fixture(scope="session")
def pycaffe(caffe_prefix: Path) -> Path:
    """A Python that imports real pycaffe; it is another interpreter, run it as a program."""
    python = caffe_prefix / "wrap" / "python3-caffe"
    if not python.is_file():
        _missing("pycaffe (run `make caffe`)", "REQUIRE_CAFFE")
    return python
