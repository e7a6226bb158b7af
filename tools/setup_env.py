"""Creates the virtual environment of this package: PyTorch first, then the package itself.

Run by `make setup` with any Python 3.11+; uses the standard library alone. TORCH names a
requirement (`torch==2.13.0`), TORCH_INDEX a package index to take PyTorch from. Without either,
a machine without an NVIDIA GPU gets the CPU build wherever pip can find one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TORCH_VERSION = "2.13.0"


def has_nvidia_gpu() -> bool:
    """Whether the driver's own tool lists a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    found = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return found.returncode == 0 and "GPU" in found.stdout


def torch_requirements() -> list[str]:
    """What to ask pip for, best first."""
    if named := os.environ.get("TORCH"):
        return [named]
    if has_nvidia_gpu() or os.environ.get("TORCH_INDEX"):
        return [f"torch=={TORCH_VERSION}", "torch"]
    return [f"torch=={TORCH_VERSION}+cpu", f"torch=={TORCH_VERSION}", "torch"]


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the environment's pip quietly; its output is shown only if it fails."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def has_pip(python: Path) -> bool:
    """Whether the environment's interpreter and its pip run."""
    command = [str(python), "-m", "pip", "--version"]
    return (
        os.access(python, os.X_OK)
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def fail(message: str) -> None:
    """End with one line."""
    sys.exit(f"setup: {message}")


def install_torch(python: Path) -> None:
    """Install PyTorch, unless the environment has it and the user names none; say which wheel."""
    index = os.environ.get("TORCH_INDEX")
    options = ["--index-url", index] if index else []
    if not os.environ.get("TORCH") and not index:
        # The metadata comes last in an installation: without it, one was cut off.
        probe = "import importlib.metadata, torch; importlib.metadata.version('torch')"
        has = subprocess.run([str(python), "-c", probe], capture_output=True, check=False)
        if has.returncode == 0:
            return
    error = ""
    for requirement in torch_requirements():
        print(f"setup: looking for {requirement}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            done = pip(python, *options, "--report", str(report), requirement)
            if done.returncode != 0:
                error = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no word"
                continue
            for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
                if item["metadata"]["name"] == "torch":
                    wheel = item["download_info"]["url"].rsplit("/", 1)[-1].replace("%2B", "+")
                    print(f"setup: PyTorch from the wheel {wheel}", flush=True)
        return
    fail(f"pip finds no PyTorch ({error}); name one with TORCH=... or TORCH_INDEX=...")


def main() -> None:
    """Create or complete the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--extra", action="append", default=[])
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):
        fail(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]} (PYTHON=...)")
    python = arguments.venv / "bin" / "python"
    marker = arguments.venv / "metaqnn-setup"
    if not has_pip(python):  # absent, or its creation was cut off
        if arguments.venv.exists() and not marker.exists():
            fail(f"{arguments.venv} has no working pip and was not made here; move it away")
        shutil.rmtree(arguments.venv, ignore_errors=True)
        arguments.venv.mkdir(parents=True)
        marker.write_text("made by tools/setup_env.py\n")
        print(f"setup: creating {arguments.venv}", flush=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", str(arguments.venv)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            shutil.rmtree(arguments.venv, ignore_errors=True)
            fail(f"{sys.executable} cannot create environments (on Debian: python3-venv)")
    install_torch(python)
    root = Path(__file__).resolve().parent.parent
    extras = f"[{','.join(arguments.extra)}]" if arguments.extra else ""
    print(f"setup: installing metaqnn-caffe{extras} and what it needs", flush=True)
    done = pip(python, "--editable", f"{root}{extras}")
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        fail("installing the package failed, see above")
    probe = (
        "import torch; print('setup: PyTorch', torch.__version__, "
        "'with CUDA ' + torch.version.cuda if torch.version.cuda else 'for CPU')"
    )
    subprocess.run([str(python), "-c", probe], check=True)


if __name__ == "__main__":
    main()
