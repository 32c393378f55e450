"""Memory of a lane, estimated."""

from __future__ import annotations

import pytest

from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.memory import lane_bytes


def test_the_estimate_grows_with_what_takes_memory() -> None:
    small = TrialConfig(task=TaskConfig(modulus=29), model=ModelConfig(width=48))
    plain = lane_bytes(small)
    assert 4 * 4 * 30_000 < plain < 200e6
    assert lane_bytes(TrialConfig(task=TaskConfig(modulus=29), model=ModelConfig(width=96))) > plain
    assert lane_bytes(TrialConfig(task=TaskConfig(modulus=59), model=ModelConfig(width=48))) > plain
    penalised = TrialConfig(task=TaskConfig(modulus=29), model=ModelConfig(width=48), spectral_entropy_weight=0.1)
    assert lane_bytes(penalised) > plain
    assert lane_bytes(TrialConfig(model=ModelConfig(kind="mlp"))) > 10e6
    with pytest.raises(ConfigError):
        lane_bytes(TrialConfig(batch_size=10**6))
