"""What determines the weights of a trial, and so its id: the trial itself, its task, its model, its drift.

Imports no torch, so that specifications can be read in a moment.
"""

from trainables.config.drift import Drift, TrainingSet
from trainables.config.trial import (
    AT_DECLINE,
    Attention,
    ModelConfig,
    TaskConfig,
    TrialConfig,
    identity,
    trial_from_dict,
)

__all__ = [
    "AT_DECLINE",
    "Attention",
    "Drift",
    "ModelConfig",
    "TaskConfig",
    "TrainingSet",
    "TrialConfig",
    "identity",
    "trial_from_dict",
]
