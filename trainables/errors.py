"""The exceptions that `trainables` raises when the caller has made a mistake.

TrainablesError(ValueError)
├── ConfigError            a trial's configuration cannot be trained as it is
├── MeasurementError       a network or loss that cannot be measured
├── BitstreamError         bytes that are not our bitstream, or not for these tensors
├── CheckpointError        a checkpoint that is damaged or does not belong to these trials
│   └── CheckpointTooNew   a checkpoint that a later version of the package wrote
└── OutOfMemory            not even one lane fits
"""

from __future__ import annotations

import math
import reprlib


class TrainablesError(ValueError):
    """Base of every error that this package raises on purpose; the message says what to do."""


class ConfigError(TrainablesError):
    """A configuration that cannot be trained; raised before any compute is spent."""


class MeasurementError(TrainablesError):
    """A network, loss or epsilon for which complexity is not defined."""


class BitstreamError(TrainablesError):
    """Bytes that do not decode to the requested tensors."""


class CheckpointError(TrainablesError):
    """A checkpoint that is damaged or belongs to other trials."""


class CheckpointTooNew(CheckpointError):
    """A checkpoint that is not damaged, but that only a later version of the package can read."""


class OutOfMemory(TrainablesError):
    """Memory ran out with a single lane, so training fewer lanes at once does not help."""


SHOWN_CHARACTERS = 60
"""Characters of a value that a message shows: enough to recognise it, whatever a file or a script contains."""

_SHOWN_BITS = 3 * SHOWN_CHARACTERS
"""Bits of a whole number that is shown with all its digits."""


def shown(value: object) -> str:
    """Write a value for a message, as `repr` does, in at most `SHOWN_CHARACTERS` characters."""
    text = _SHORT.repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


class _Short(reprlib.Repr):
    """Writes only as much of lists, mappings and texts as a message shows, however much they contain."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = SHOWN_CHARACTERS
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 8
        self.maxlevel = 4

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 (the signature of the base class)
        if x.bit_length() <= _SHOWN_BITS:
            return repr(x)
        # All digits of a huge number take long to compute, and Python refuses to.
        return f"about {'-' * (x < 0)}10^{round((x.bit_length() - 1) * math.log10(2))}"


_SHORT = _Short()


def raised(error: BaseException) -> str:
    """Say in one line what was raised: its type, and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"


def refuse(name: str, must: str, error: Exception) -> ConfigError:
    """Return the error that says what must hold of user-supplied code, and what that code raised instead."""
    return ConfigError(f"{name} {must}, got {raised(error)}")
