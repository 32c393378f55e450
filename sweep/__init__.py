"""Sweeps of small networks on Ray, watched while they grok.

    import sweep

    config = sweep.SweepConfig(name="mine", weight_decay=[0, 0.1, 1], data_fraction=[0.3, 0.5], seeds=3)
    sweep.run(config)                                 # or: sweep.load_specification("quickstart")
    sweep.run_here(module=lambda: ConvNet(), inputs=images, targets=labels)     # in this process, your own network

`TrialTrainable` and `DeclineStopper` are for your own Ray Tune scripts. Importing this package costs nothing;
each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import trainables  # noqa: F401 (chooses the kernels that training needs, before torch computes anything)

if TYPE_CHECKING:
    from sweep.config import SweepConfig, load_specification
    from sweep.errors import SpecificationError, SweepError
    from sweep.here import run_here
    from sweep.runner import run
    from sweep.trial_trainable import DeclineStopper, TrialTrainable

__version__ = "0.1.0"

#: Public name -> the module that defines it.
_LAZY = {
    "DeclineStopper": "sweep.trial_trainable",
    "SpecificationError": "sweep.errors",
    "SweepConfig": "sweep.config",
    "SweepError": "sweep.errors",
    "TrialTrainable": "sweep.trial_trainable",
    "load_specification": "sweep.config",
    "run": "sweep.runner",
    "run_here": "sweep.here",
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
