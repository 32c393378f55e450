"""What a network may be, and what is said of anything else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.trainables.complexity.small import memorised
from trainables.complexity.network import check_measurable, tensors
from trainables.errors import MeasurementError


def test_a_module_is_its_parameters_in_their_order_detached() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    named = tensors(module)
    assert list(named) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert not any(tensor.requires_grad for tensor in named.values())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({}, "at least one tensor"),
        ({"a": [1.0]}, "must be a tensor with values, got list for 'a'"),
        (nn.LazyLinear(3), "got UninitializedParameter for 'weight'; .* run a lazy module once"),
        ({"a": torch.eye(2).to_sparse()}, "must be dense and in memory, got torch.sparse_coo"),
        ({"a": torch.zeros(2, device="meta")}, "must be dense and in memory, got torch.strided on meta"),
        ({"a": torch.arange(3)}, "must be float16, .* got torch.int64"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "must be float16, .* got torch.complex64"),
    ],
)
def test_what_is_no_network(network: Any, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        tensors(network)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_must_be_finite(value: float) -> None:
    network = memorised()
    network["second/bias"][2] = value
    with pytest.raises(MeasurementError, match=r"finite, got 1 NaN or infinite of 7 in 'second/bias'"):
        check_measurable(network)


def test_tensors_must_have_elements() -> None:
    with pytest.raises(MeasurementError, match=r"must have elements, got shape \(0, 3\) for 'empty'"):
        check_measurable({"empty": torch.zeros(0, 3)})
