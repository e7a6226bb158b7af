"""What is malformed, and how both programs take it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A malformed text, or a command line that leads to a malformed file.

    Attributes:
        text: the net or solver with its fault.
        names: what the fatal line must contain, a regular expression each.
        real: how real Caffe takes the same. `says`: its fatal message is the start of ours;
            `dies`: it too ends by SIGABRT, with other words; `crashes`: by a signal that is no
            message (SIGSEGV, SIGFPE, an uncaught C++ exception); `accepts`: it does not check,
            and ends with status 0.
    """

    text: str
    names: tuple[str, ...]
    real: str = "says"
