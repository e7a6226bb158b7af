"""SIGINT, SIGHUP and SIGTERM as requests that the solver serves between iterations."""

import enum
import signal
from types import FrameType

from caffe_torch.log import FatalError


class Action(enum.Enum):
    """What a signal asks of a solver."""

    NONE = "none"
    STOP = "stop"
    SNAPSHOT = "snapshot"


def no_action() -> Action:
    """Nobody asks for anything."""
    return Action.NONE


def effect(name: str) -> Action:
    """The action that a flag names.

    Raises:
        FatalError: it is none of stop, snapshot, none.
    """
    try:
        return Action(name)
    except ValueError:
        raise FatalError(
            "caffe.cpp:162",
            f'Invalid signal effect "{name}" was specified (give stop, snapshot or none)',
        ) from None


class SignalHandler:
    """Catches signals from its creation on; `poll` is the solver's `requested`.

    SIGTERM is left to kill, as in Caffe, unless it is given an action.
    """

    def __init__(self, sigint: Action, sighup: Action, sigterm: Action | None = None) -> None:
        self._effects = {signal.SIGINT: sigint, signal.SIGHUP: sighup}
        if sigterm is not None:
            self._effects[signal.SIGTERM] = sigterm
        self._received = dict.fromkeys(self._effects, False)
        for number in self._effects:
            signal.signal(number, self._note)

    def poll(self) -> Action:
        """The action of a signal received since the last call; SIGINT's first."""
        for number, action in self._effects.items():
            if self._received[number]:
                self._received[number] = False
                return action
        return Action.NONE

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received[signal.Signals(number)] = True
