"""Networks as functions of a dictionary of parameters with a leading lane axis; `architecture_of` picks one."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from trainables.architectures.built_in import BuiltIn
from trainables.architectures.own_module import registered_module
from trainables.architectures.protocol import Architecture, Shapes, WriteGradient
from trainables.config import ModelConfig
from trainables.config.families import BUILT_IN_KINDS
from trainables.numerics.computing import settled_torch
from trainables.tasks import Task

__all__ = ["Architecture", "Shapes", "WriteGradient", "architecture_of", "initial_weights"]


def architecture_of(task: Task, model: ModelConfig) -> Architecture:
    """Return the network that a configuration describes for a task.

    Raises:
        ConfigError: task and model do not fit, or the kind of model is registered and cannot be trained in lanes.
    """
    # Looked up before what is remembered: a kind may be registered anew.
    return _built(task, model.with_source())


@lru_cache(maxsize=16)
@settled_torch()  # what is remembered must be of use whatever the caller's settings were
def _built(task: Task, model: ModelConfig) -> Architecture:
    if model.kind in BUILT_IN_KINDS:
        return BuiltIn(task, model)
    return registered_module(task, model)


def initial_weights(architecture: Architecture, model: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Draw a trial's initial weights: those with two or more axes are multiplied by `initial_scale`."""
    weights = architecture.initialise(seed)
    if model.initial_scale == 1:
        return weights
    return {name: weight * model.initial_scale if weight.ndim > 1 else weight for name, weight in weights.items()}
