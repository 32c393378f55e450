"""Sweeps of small networks on Ray, watched while they grok.

    import sweep

    config = sweep.SweepConfig(name="mine", weight_decay=[0, 0.1, 1], data_fraction=[0.3, 0.5], seeds=3)
    sweep.run(config)                                 # or: sweep.load_specification("quickstart")
    sweep.run_here(module=lambda: ConvNet(), inputs=images, targets=labels)     # in this process, your own network

`TrialTrainable`, `DeclineStopper` and `GrokScheduler` are for your own Ray Tune scripts. Importing this package
costs nothing; each name is imported when it is first used.
"""

from __future__ import annotations

import lazy_loader

import trainables  # noqa: F401 (chooses the kernels that training needs, before torch computes anything)

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
