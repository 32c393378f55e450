"""Rows do not depend on what the caller has set torch to, and the caller's settings come back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables import LaneRun, ModelConfig, TaskConfig, TrialConfig, decode, describe_task, measure

# With tiny weights and moments, numbers too small for their type matter.
TRIAL = TrialConfig(
    task=TaskConfig(modulus=7),
    model=ModelConfig(kind="mlp", width=8, layers=1, initial_scale=1e-13),
    batch_size=8,
    steps=8,
    adam_epsilon=1e-20,
)


@contextlib.contextmanager
def _set(change: Callable[[Any], object], value: Any, before: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(before)


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "double": lambda: _set(torch.set_default_dtype, torch.float64, torch.float32),
    "flush": lambda: _set(torch.set_flush_denormal, True, False),
    "threads": lambda: _set(torch.set_num_threads, 2, 1),
    "medium": lambda: _set(torch.set_float32_matmul_precision, "medium", "highest"),
}


def rows() -> list[Any]:
    return [(m.step, m.train_loss, m.val_loss, m.l2_norm) for m in LaneRun([TRIAL]).advance(1)]


def state() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        float(torch.full((1,), 2.0**-126, dtype=torch.float32).mul_(0.5)),
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_rows_do_not_depend_on_the_callers_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.scoring.complexities", lambda *_a, **_k: ())
    plain = rows()
    with SETTINGS[name]():
        before = state()
        assert rows() == plain
        assert state() == before


RANDOM = torch.Generator().manual_seed(0)
INPUTS = torch.randn(90, 24, generator=RANDOM)
NETWORK = {"hidden": torch.randn(24, 16, generator=RANDOM), "out": torch.randn(16, 5, generator=RANDOM)}


def logits(network: Mapping[str, Tensor]) -> Tensor:
    return torch.tanh(INPUTS @ network["hidden"]) @ network["out"]


TARGETS = logits(NETWORK).argmax(1)


def bitstreams() -> list[Any]:
    """Streams, loss increases and decoded weights of `NETWORK`, measured and described."""

    def loss(network: Mapping[str, Tensor]) -> Tensor:
        return functional.cross_entropy(logits(network), TARGETS, reduction="none")

    [measured] = measure(NETWORK, loss, epsilons=[0.1])
    [described] = describe_task(NETWORK, loss, epsilons=[0.1], budget=20)
    decoded = decode(measured.bitstream, NETWORK)
    return [measured.bitstream, measured.loss_increase, decoded["out"].tolist(), described.bitstream]


PLAIN = bitstreams()


@pytest.mark.parametrize("name", SETTINGS)
def test_bitstreams_do_not_depend_on_the_callers_settings(name: str) -> None:
    with SETTINGS[name]():
        before = state()
        assert bitstreams() == PLAIN
        assert state() == before
