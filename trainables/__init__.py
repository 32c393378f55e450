"""Train networks in lanes and watch the compressed size of their weights. Knows nothing of Ray or of tables.

    from trainables import TrialConfig, train

    for measurement in train([TrialConfig(weight_decay=1.0), TrialConfig(weight_decay=0.0)]):
        print(measurement.step, measurement.val_accuracy, measurement.complexity_bytes)

Names are imported when they are first used, so that configurations can be read without importing torch.
"""

from __future__ import annotations

import lazy_loader

from trainables.numerics.environment import choose_kernels

choose_kernels()  # before torch computes anything: MKL looks at its settings once

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
