"""Sweeps of small networks on Ray, watched while they grok.

    import sweep

    config = sweep.SweepConfig(name="mine", weight_decay=[0, 0.1, 1], data_fraction=[0.3, 0.5], seeds=3)
    sweep.run(config)                                 # or: sweep.load_specification("quickstart")
    sweep.run_here(module=lambda: ConvNet(), inputs=images, targets=labels)     # in this process, your own network

`TrialTrainable` and `DeclineStopper` are for Ray Tune scripts of your own. Importing this package costs nothing;
each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.errors import SpecificationError, SweepError
    from sweep.on_ray.runner import run
    from sweep.on_ray.trial_trainable import DeclineStopper, TrialTrainable
    from sweep.specification.config import SweepConfig, load_specification
    from sweep.training.here import run_here

__version__ = "0.1.0"

#: Public name -> the module it lives in.
_LAZY = {
    "DeclineStopper": "sweep.on_ray.trial_trainable",
    "SpecificationError": "sweep.errors",
    "SweepConfig": "sweep.specification.config",
    "SweepError": "sweep.errors",
    "TrialTrainable": "sweep.on_ray.trial_trainable",
    "load_specification": "sweep.specification.config",
    "run": "sweep.on_ray.runner",
    "run_here": "sweep.training.here",
}

__all__ = [
    "DeclineStopper",
    "SpecificationError",
    "SweepConfig",
    "SweepError",
    "TrialTrainable",
    "__version__",
    "load_specification",
    "run",
    "run_here",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
