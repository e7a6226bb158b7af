"""`caffe-torch python`: runs a script for which `import caffe` finds a pycaffe.

A real pycaffe that this Python can import is preferred; else it is the package in `shim`. The
choice is made when the script imports `caffe`, so that a path which it sets first counts.
"""

import runpy
import signal
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from caffe_torch import __version__, log

USAGE = """\
usage: caffe-torch python [--engine auto|real|embedded] SCRIPT [ARGUMENTS]
       caffe-torch python [--engine auto|real|embedded] --which
Runs a Python script that imports caffe. auto: a real pycaffe where there is one, else the embedded
one. --which: say which one that is."""

_ENGINES = ("auto", "real", "embedded")
_SHIM = str(Path(__file__).parent / "shim")


class UsageError(Exception):
    """A command line that cannot be run: the message says what is wrong with it."""


class _Finder(MetaPathFinder):
    """Finds the top-level package `caffe`, and says on stderr which one it is."""

    def __init__(self, engine: str) -> None:
        self._engine = engine

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "caffe":
            return None
        spec, what = _choose(self._engine)
        print(f"caffe-torch python: import caffe is {what}", file=sys.stderr)
        return spec


def _choose(engine: str) -> tuple[ModuleSpec, str]:
    """The package that `import caffe` is to be, and what it is in words.

    Raises:
        ImportError: a real one is asked for, and there is none.
    """
    real = None if engine == "embedded" else PathFinder.find_spec("caffe")
    if real is not None and _is_pycaffe(real):
        return real, f"real pycaffe in {Path(real.origin or '').parent}"
    if engine == "real":
        raise ImportError("no real pycaffe is on this Python's path; set PYTHONPATH to its folder")
    spec = PathFinder.find_spec("caffe", [_SHIM])
    if spec is None:
        raise ImportError(f"{_SHIM} has no package caffe: this installation is incomplete")
    return spec, f"the embedded pycaffe, caffe_torch {__version__}"


def _is_pycaffe(spec: ModuleSpec) -> bool:
    """Whether a package has Caffe's library; the placeholder of that name on PyPI has not."""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return any((d / f"_caffe{suffix}").is_file() for d in folders for suffix in EXTENSION_SUFFIXES)


def main(arguments: Sequence[str]) -> int:
    """Run `caffe-torch python` with these arguments; ends as the script does.

    Returns:
        The exit status: 0, 1 for an exception of the script's, 2 for a wrong command line.

    Raises:
        FatalError: one of the embedded pycaffe's that the script does not catch.
        SystemExit: the script's own.
    """
    try:
        engine, rest = _options(list(arguments))
        if rest == ["--which"]:
            print(_which(engine))
            return 0
        script = _script(rest)
    except UsageError as error:
        print(f"caffe-torch python: {error}", file=sys.stderr)
        return 2
    if script is None:
        print(USAGE)
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.meta_path.insert(0, _Finder(engine))
    sys.argv = rest
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(script).resolve().parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except log.FatalError:
        raise
    except Exception as error:
        _print(error, script)
        return 1
    return 0


def _options(arguments: list[str]) -> tuple[str, list[str]]:
    """The engine, and what follows the options."""
    engine = "auto"
    while arguments and arguments[0].lstrip("-").partition("=")[0] == "engine":
        value = arguments.pop(0).partition("=")[2]
        engine = value or (arguments.pop(0) if arguments else "")
        if engine not in _ENGINES:
            raise UsageError(f"--engine {engine}: it is one of {', '.join(_ENGINES)}")
    return engine, arguments


def _script(arguments: list[str]) -> str | None:
    """The script's path, or None where help is asked for."""
    if not arguments:
        raise UsageError("no script: caffe-torch python SCRIPT [ARGUMENTS]")
    script = arguments[0]
    if script in ("-h", "--help", "-help"):
        return None
    if script.startswith("-"):
        raise UsageError(f"unknown option {script} (its options are --engine and --which)")
    if not Path(script).exists():
        raise UsageError(f"{script} does not exist: give the path of a Python script")
    if Path(script).is_dir():
        raise UsageError(f"{script} is a folder: give the path of a Python script")
    return script


def _which(engine: str) -> str:
    """What `import caffe` would be, in words."""
    try:
        _, what = _choose(engine)
    except ImportError as error:
        raise UsageError(str(error)) from None
    if what.startswith("the embedded") and find_spec("torch") is None:
        raise UsageError("no pycaffe: there is no real one, and the embedded one needs PyTorch")
    return what


def _print(error: Exception, script: str) -> None:
    """Print a script's exception as Python does, without the frames that ran it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != script:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
