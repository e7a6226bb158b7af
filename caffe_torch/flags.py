"""gflags' command line: `-flag value`, `-flag=value`, `--flag value`, `--flag=value`."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass
class Flags:
    """The command's flags, each with its default; the metadata of each is its help.

    Caffe's own flags, two that it has not (`sigterm_effect`, `die_on_nan`), `export`'s (`onnx` to
    `transform`), and those of glog's that only steer where the log goes: they are accepted and
    ignored, because the log is always on stderr.
    """

    gpu: str = ""
    solver: str = ""
    model: str = ""
    phase: str = ""
    level: int = 0
    stage: str = ""
    snapshot: str = ""
    weights: str = ""
    iterations: int = 50
    sigint_effect: str = "stop"
    sighup_effect: str = "snapshot"
    sigterm_effect: str = ""
    die_on_nan: bool = False
    precision: str = "fp32"
    onnx: str = ""
    state_dict: str = ""
    shape: str = ""
    transform: bool = True
    logtostderr: bool = False
    alsologtostderr: bool = False
    log_dir: str = ""
    minloglevel: int = 0
    stderrthreshold: int = 2
    v: int = 0
    help: bool = False
    helpshort: bool = False
    version: bool = False


HELP = {
    "gpu": "Optional; run in GPU mode on the given device id (one; several are refused).",
    "solver": "The solver definition protocol buffer text file.",
    "model": "The model definition protocol buffer text file.",
    "phase": "Optional; network phase (TRAIN or TEST). Only used for 'time' "
    "(TRAIN by default) and 'export' (TEST).",
    "level": "Optional; network level.",
    "stage": "Optional; network stages (not to be confused with phase), separated by ','.",
    "snapshot": "Optional; the snapshot solver state to resume training.",
    "weights": "Optional; the pretrained weights to initialize finetuning, separated by ','. "
    "Cannot be set simultaneously with snapshot.",
    "iterations": "The number of iterations to run.",
    "sigint_effect": "Optional; action to take when a SIGINT signal is received: "
    "snapshot, stop or none.",
    "sighup_effect": "Optional; action to take when a SIGHUP signal is received: "
    "snapshot, stop or none.",
    "sigterm_effect": "Optional; action to take when a SIGTERM signal is received: "
    "snapshot, stop (which snapshots too) or none. Without it the signal kills, as in Caffe.",
    "die_on_nan": "'train': end with a fatal error at the first loss that is not finite, and "
    "write no snapshot of such weights.",
    "precision": "Optional; fp32 (Caffe's), tf32 (NVIDIA GPUs) or bf16, which is faster where the "
    "hardware has it and rounds; parameters and losses stay float32.",
    "onnx": "'export': the ONNX file to write.",
    "state_dict": "'export': the file to write for PyTorch.",
    "shape": "Optional; 'export': C,H,W of a stored image, where its database is not at hand.",
    "transform": "'export': make the data layer's mean, scale and crop part of what is written, "
    "so that its input is raw pixels; -notransform leaves them to the caller.",
}

USAGE = """\
caffe: command line brew
usage: caffe <command> <args>

commands:
  train           train or finetune a model
  test            score a model
  device_query    show GPU diagnostic information
  time            benchmark model execution time
  export          write a trained model as ONNX and as a PyTorch state_dict
  python          run a Python script that imports caffe: `caffe-torch python SCRIPT [ARGUMENTS]`
"""


class FlagError(Exception):
    """A command line that gflags refuses: the message goes to stderr, the exit status is 1."""


def parse(arguments: Sequence[str]) -> tuple[Flags, list[str]]:
    """Return the flags and the positional arguments, in any order on the command line.

    Raises:
        FlagError: unknown flag, missing argument, or illegal value.
    """
    flags = Flags()
    kinds = {field.name: type(field.default) for field in fields(Flags)}
    positional: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return flags, positional + rest
        if not argument.startswith("-") or argument == "-":
            positional.append(argument)
            continue
        name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
        negated = name.startswith("no") and kinds.get(name[2:]) is bool
        if negated:
            name, equals, value = name[2:], "=", "false"
        if name not in kinds:
            raise FlagError(f"ERROR: unknown command line flag '{name}'")
        if not equals:
            if kinds[name] is bool:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise FlagError(
                    f"ERROR: flag '{argument}' is missing its argument; "
                    f"flag description: {HELP.get(name, '')}"
                )
        setattr(flags, name, _convert(name, kinds[name], value))
    return flags, positional


def usage() -> None:
    """Print what the commands and flags are on stdout."""
    lines = [f"    -{name} ({text})" for name, text in HELP.items()]
    sys.stdout.write(USAGE + "\n  flags:\n" + "\n".join(lines) + "\n")


def _convert(name: str, kind: type, value: str) -> str | int | bool:
    if kind is str:
        return value
    if kind is bool:
        if value.lower() in ("true", "t", "yes", "y", "1"):
            return True
        if value.lower() in ("false", "f", "no", "n", "0"):
            return False
        raise FlagError(f"ERROR: illegal value '{value}' specified for bool flag '{name}'")
    digits = re.fullmatch(r"\s*([+-]?)(0[xX])?([0-9a-fA-F]+)", value, re.ASCII)
    if digits and (digits[2] or digits[3].isdecimal()):
        number = int(digits[1] + digits[3], 16 if digits[2] else 10)  # 010 is ten
        if -(2**31) <= number < 2**31:
            return number
    raise FlagError(f"ERROR: illegal value '{value}' specified for int32 flag '{name}'")
