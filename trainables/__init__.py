"""Train networks in lanes and watch the compressed size of their weights. Knows nothing of Ray or of tables.

    from trainables import TrialConfig, train

    for measurement in train([TrialConfig(weight_decay=1.0), TrialConfig(weight_decay=0.0)]):
        print(measurement.step, measurement.val_accuracy, measurement.complexity_bytes)

Names are imported when they are first used, so that configurations can be read without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.architectures.models import forward, initialise
    from trainables.complexity import METHOD, ComplexityResult, decode, measure
    from trainables.config import ModelConfig, TaskConfig, TrialConfig, trial_from_dict
    from trainables.config.registry import register_model, register_task
    from trainables.description import DESCRIPTION_METHOD, DescriptionResult, describe_task
    from trainables.errors import (
        BitstreamError,
        CheckpointError,
        ConfigError,
        MeasurementError,
        TrainablesError,
    )
    from trainables.lanes import LaneRun, shape_key, train
    from trainables.measurement import (
        ComplexityMeasurement,
        Declined,
        Ending,
        MatrixMeasurement,
        Measurement,
        TrialEnd,
        TrialHistory,
        Watch,
    )
    from trainables.memory import lanes_within, run_bytes
    from trainables.networks import (
        LoadedNetwork,
        from_safetensors,
        load_network,
        save_network,
        to_safetensors,
        trained_network,
    )
    from trainables.schedule import MeasuringConfig
    from trainables.spectral import spectrum
    from trainables.tasks import FAMILIES, Split, Task, build_task
    from trainables.tasks.split import split

_MODULES = {
    "complexity": ("METHOD", "ComplexityResult", "decode", "measure"),
    "config": ("ModelConfig", "TaskConfig", "TrialConfig", "trial_from_dict"),
    "description": ("DESCRIPTION_METHOD", "DescriptionResult", "describe_task"),
    "errors": (
        "BitstreamError",
        "CheckpointError",
        "ConfigError",
        "MeasurementError",
        "OutOfMemory",
        "TrainablesError",
    ),
    "lanes": ("LaneRun", "shape_key", "train"),
    "measurement": (
        "ComplexityMeasurement",
        "Declined",
        "Ending",
        "MatrixMeasurement",
        "Measurement",
        "TrialEnd",
        "TrialHistory",
        "Watch",
    ),
    "schedule": ("MeasuringConfig",),
    "memory": ("lanes_within", "run_bytes"),
    "architectures.models": ("forward", "initialise"),
    "networks": (
        "LoadedNetwork",
        "from_safetensors",
        "load_network",
        "save_network",
        "to_safetensors",
        "trained_network",
    ),
    "config.registry": ("register_model", "register_task"),
    "spectral": ("spectrum",),
    "tasks": ("FAMILIES", "Split", "Task", "build_task", "split"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022 (grouped as imported above)
    "METHOD",
    "ComplexityResult",
    "decode",
    "measure",
    "DESCRIPTION_METHOD",
    "DescriptionResult",
    "describe_task",
    "ModelConfig",
    "TaskConfig",
    "TrialConfig",
    "trial_from_dict",
    "BitstreamError",
    "CheckpointError",
    "ConfigError",
    "MeasurementError",
    "OutOfMemory",
    "TrainablesError",
    "LaneRun",
    "shape_key",
    "train",
    "ComplexityMeasurement",
    "Declined",
    "Ending",
    "MatrixMeasurement",
    "Measurement",
    "TrialEnd",
    "TrialHistory",
    "Watch",
    "MeasuringConfig",
    "lanes_within",
    "run_bytes",
    "forward",
    "initialise",
    "LoadedNetwork",
    "from_safetensors",
    "load_network",
    "save_network",
    "to_safetensors",
    "trained_network",
    "register_model",
    "register_task",
    "spectrum",
    "FAMILIES",
    "Split",
    "Task",
    "build_task",
    "split",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'trainables' has no attribute {name!r}")
    value = getattr(import_module(f"trainables.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
