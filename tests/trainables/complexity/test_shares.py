"""How bytes divide over tensors."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.complexity.small import memorised, per_example_loss
from trainables.complexity import measure
from trainables.complexity.shares import bytes_by_tensor
from trainables.complexity.stream import encode_lossless


def test_bytes_add_up_and_what_is_not_seen_has_none() -> None:
    network = memorised() | {"unused": torch.ones(20, 20)}
    (result,) = measure(network, per_example_loss, [0.5])
    found = bytes_by_tensor(result.bitstream, network)
    assert found.keys() == network.keys()
    assert sum(found.values()) == pytest.approx(result.complexity_bytes)
    assert found["unused"] == 0
    assert found["first/kernel"] > found["first/bias"] > 0


def test_lossless_bytes_go_by_size() -> None:
    stream = encode_lossless(memorised())
    found = bytes_by_tensor(stream, memorised())
    assert sum(found.values()) == pytest.approx(len(stream))
    assert found["first/kernel"] == pytest.approx(12 * found["first/bias"])
