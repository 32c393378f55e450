"""The exceptions that `trainables` raises when the caller has made a mistake.

TrainablesError(ValueError)
├── ConfigError            a trial's configuration cannot be trained as it is
├── MeasurementError       a network or loss that cannot be measured
├── BitstreamError         bytes that are not our bitstream, or not for these tensors
├── CheckpointError        a checkpoint that is damaged or does not belong to these trials
│   └── CheckpointTooNew   a checkpoint that a later version of the package wrote
└── OutOfMemory            not even one lane fits
"""


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


def refuse(name: str, must: str, error: Exception) -> ConfigError:
    """Return the error that says what must hold of user-supplied code, and what that code raised instead."""
    lines = str(error).strip().splitlines()
    return ConfigError(f"{name} {must}, got {type(error).__name__}: {lines[0] if lines else 'without a message'}")
