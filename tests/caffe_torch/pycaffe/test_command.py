"""`caffe-torch python`: which pycaffe a script gets, and how the command ends."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "caffe_torch", "python"]
EMBEDDED = "caffe-torch python: import caffe is the embedded pycaffe, caffe_torch "


def run(
    *arguments: str, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def package(folder: Path, library: str | None) -> Path:
    """A package `caffe` that says where it is, with or without Caffe's library; its folder."""
    (folder / "caffe").mkdir(parents=True)
    (folder / "caffe" / "__init__.py").write_text("where = __file__\nLayer = object\n")
    if library:
        (folder / "caffe" / library).write_bytes(b"")
    return folder


def script(folder: Path, text: str) -> str:
    """A script's name in a folder."""
    (folder / "script.py").write_text(text)
    return "script.py"


def test_no_caffe_is_importable_outside_the_command() -> None:
    """Neither installed nor beside the packages; a real one would have Caffe's library."""
    spec = find_spec("caffe")
    assert spec is None or "caffe_torch" not in str(spec.origin)
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import caffe_torch.scripts, caffe; print(caffe.__file__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "caffe_torch" not in done.stdout


def test_a_wheel_has_no_top_level_caffe(tmp_path: Path) -> None:
    """What `pip install` would put beside other packages; the shim lies in caffe_torch."""
    root = Path(__file__).parents[3]
    code = (
        "import sys; from scikit_build_core.build import build_wheel; "
        "print(build_wheel(sys.argv[1]))"
    )
    built = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "caffe_torch/shim/caffe/__init__.py" in names
    assert not [name for name in names if name.split("/")[0] in ("caffe", "caffe.py")]


def test_a_script_is_run_as_python_runs_it(tmp_path: Path) -> None:
    """Its arguments as they are, its folder first on the path, its own name, its exit status."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "beside.py").write_text("value = 5\n")
    (tmp_path / "scripts" / "script.py").write_text(
        "import sys, beside\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv, beside.value, __file__)\n"
        "    sys.exit(7)\n"
    )
    done = run("scripts/script.py", "-x", "--engine", "y", "--", "-solver=z", cwd=tmp_path)
    arguments = ["scripts/script.py", "-x", "--engine", "y", "--", "-solver=z"]
    assert done.stdout == f"{arguments} 5 scripts/script.py\n"
    assert (done.returncode, done.stderr) == (7, "")


def test_without_a_real_pycaffe_the_embedded_one_runs_and_says_so(tmp_path: Path) -> None:
    name = script(tmp_path, "import caffe, caffe.io\nprint(caffe.__version__, caffe.TEST)\n")
    done = run("--engine", "embedded", name, cwd=tmp_path)
    assert done.stdout == "1.0.0 1\n"
    assert done.stderr.startswith(EMBEDDED)
    assert len(done.stderr.splitlines()) == 1


def test_a_real_pycaffe_is_preferred(tmp_path: Path) -> None:
    """Also one that the script puts on the path; `--engine embedded` overrules."""
    real = package(tmp_path / "real", "_caffe.so")
    early = script(tmp_path, "import caffe\nprint(caffe.where)\n")
    done = run(early, cwd=tmp_path, environment={"PYTHONPATH": str(real)})
    assert done.stdout == f"{real}/caffe/__init__.py\n"
    assert done.stderr == f"caffe-torch python: import caffe is real pycaffe in {real}/caffe\n"
    late = script(
        tmp_path, f"import sys\nsys.path.insert(0, {str(real)!r})\nimport caffe\nprint(caffe.where)"
    )
    assert run(late, cwd=tmp_path).stdout == f"{real}/caffe/__init__.py\n"
    assert run("--engine=embedded", late, cwd=tmp_path).stderr.startswith(EMBEDDED)


@pytest.mark.parametrize("library", [None, "_caffe.cpython-27-x86_64-linux-gnu.so"])
def test_a_package_without_caffes_library_is_none(library: str | None, tmp_path: Path) -> None:
    """Such as PyPI's placeholder, a checkout that was not built, or one for another Python."""
    other = package(tmp_path / "other", library)
    name = script(tmp_path, "import caffe\nprint(caffe.Net)\n")
    done = run(name, cwd=tmp_path, environment={"PYTHONPATH": str(other)})
    assert done.returncode == 0
    assert done.stderr.startswith(EMBEDDED)
    refused = run("--engine", "real", name, cwd=tmp_path, environment={"PYTHONPATH": str(other)})
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("ImportError: no real pycaffe is on this")


def test_which_one_runs_can_be_asked(tmp_path: Path) -> None:
    real = package(tmp_path / "real", "_caffe.so")
    path = {"PYTHONPATH": str(real)}
    assert run("--which", cwd=tmp_path).stdout.startswith("the embedded pycaffe, caffe_torch ")
    said = run("--which", cwd=tmp_path, environment=path).stdout
    assert said == f"real pycaffe in {real}/caffe\n"
    none = run("--engine", "real", "--which", cwd=tmp_path)
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr.startswith("caffe-torch python: no real pycaffe is on this Python's path")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no script: caffe-torch python SCRIPT [ARGUMENTS]"),
        (["nowhere.py"], "nowhere.py does not exist: give the path of a Python script"),
        (["."], ". is a folder: give the path of a Python script"),
        (["-m", "module"], "unknown option -m (its options are --engine and --which)"),
        (["--engine", "other", "x.py"], "--engine other: it is one of auto, real, embedded"),
        (["--engine"], "--engine : it is one of auto, real, embedded"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"caffe-torch python: {message}\n"


def test_help(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: caffe-torch python")


def test_an_exception_of_the_scripts_is_shown_without_the_commands_frames(tmp_path: Path) -> None:
    name = script(tmp_path, "def f():\n    raise ValueError('mine')\n\n\nf()\n")
    done = run(name, cwd=tmp_path)
    assert done.returncode == 1
    expected = subprocess.run(
        [sys.executable, name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[0] == expected.stderr.splitlines()[0]
    assert "runpy" not in done.stderr
    assert "scripts.py" not in done.stderr
    assert done.stderr.splitlines()[-1] == "ValueError: mine"


def test_a_script_that_is_no_python_3(tmp_path: Path) -> None:
    done = run(script(tmp_path, "print 'old'\n"), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("SyntaxError: Missing parentheses")
    assert "runpy" not in done.stderr


def test_a_fatal_error_aborts_as_caffe_does_unless_the_script_catches_it(tmp_path: Path) -> None:
    call = "caffe.SGDSolver('nowhere.prototxt')"
    done = run(script(tmp_path, f"import caffe\n{call}\n"), cwd=tmp_path)
    assert done.returncode == -6
    fatal = [line for line in done.stderr.splitlines() if line.startswith("F")]
    assert len(fatal) == 1
    assert "File not found: nowhere.prototxt" in fatal[0]
    assert "Traceback" not in done.stderr
    caught = (
        f"import caffe\ntry:\n    {call}\nexcept caffe.FatalError as error:\n    print(error)\n"
    )
    done = run(script(tmp_path, caught), cwd=tmp_path)
    assert done.returncode == 0
    assert "File not found: nowhere.prototxt" in done.stdout
