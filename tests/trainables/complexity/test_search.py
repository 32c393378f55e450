"""The search finds its way also where the loss has plateaus."""

from __future__ import annotations

from trainables import ModelConfig, TaskConfig, TrialConfig, train


def test_a_network_that_has_learnt_little_is_not_coded_losslessly() -> None:
    """Heavy weight decay leaves networks whose loss has a plateau just above the bound, and little to lose."""
    trial = TrialConfig(
        task=TaskConfig(modulus=23),
        model=ModelConfig(width=32),
        data_fraction=0.5,
        weight_decay=3,
        spectral_entropy_weight=0.1,
        learning_rate=2e-3,
        batch_size=128,
        steps=352,
    )
    *_, last = train([trial])
    assert last.train_accuracy < 0.9
    assert last.complexity_bytes is not None
    raw_bytes = 4 * sum(weights.numel() for weights in (last.network or {}).values())
    assert last.complexity_bytes < raw_bytes / 10
