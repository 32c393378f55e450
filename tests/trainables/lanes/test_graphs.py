"""Captured steps: when they are captured, and that a replay is the step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from tests.trainables.comparing import comparable
from tests.trainables.little_room import on_a_gpu
from tests.trainables.recorded import capture_by_recording
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.config.drift import Drift
from trainables.lanes import LaneRun, optimiser
from trainables.lanes.graphs import EAGER_STEPS, StepGraph, capture_of
from trainables.measurement import Measurement
from trainables.schedule import MeasuringConfig

RARELY = MeasuringConfig(measure_ratio=1e6, evaluate_ratio=4)

SHAPES: dict[str, dict[str, Any]] = {
    "transformer": {"model": ModelConfig(width=12, heads=3)},
    "noise": {"model": ModelConfig(width=12, heads=3), "weight_noise": 1e-2},
    "penalty": {"model": ModelConfig(width=12, heads=3), "spectral_entropy_weight": 0.1, "spectral_every": 4},
    "two layers": {"model": ModelConfig(width=9, heads=3, layers=2)},
    "mlp": {"model": ModelConfig(kind="mlp", width=7, hidden_width=21)},
}


def test_a_step_is_captured_after_some_eager_ones_and_again_when_it_is_forgotten() -> None:
    events: list[str] = []

    def capture(step: Callable[[], None]) -> Callable[[], None]:
        events.append("capture")
        return lambda: events.append("replay")

    graph = StepGraph(capture)
    for _ in range(2):
        for _ in range(EAGER_STEPS + 2):
            graph.run(lambda: events.append("eager"))
        graph.forget()
    assert events == ["eager"] * EAGER_STEPS + ["capture", "replay", "replay"] + events[: EAGER_STEPS + 3]


def test_a_step_that_no_graph_holds_runs_eagerly_and_that_is_said_once() -> None:
    steps: list[int] = []

    def refuse(step: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    def take(graph: StepGraph, count: int) -> None:
        for step in range(count):
            graph.run(partial(steps.append, step))

    graph = StepGraph(refuse)
    with pytest.warns(RuntimeWarning, match="one by one, for no graph holds them: operation not permitted") as said:
        take(graph, EAGER_STEPS + 2)
    graph.forget()
    take(graph, EAGER_STEPS + 2)
    assert steps == 2 * list(range(EAGER_STEPS + 2))
    assert len(said) == 1
    exhausted = StepGraph(on_a_gpu)
    take(exhausted, EAGER_STEPS)
    with pytest.raises(torch.OutOfMemoryError):
        take(exhausted, 1)


def test_on_a_cpu_nothing_is_captured() -> None:
    assert capture_of(torch.device("cpu")) is None
    assert capture_of(torch.device("cuda")) is not None


def queue(shape: dict[str, Any]) -> list[TrialConfig]:
    """Lengths, splits and settings differ, so that lanes are refilled and in the end given up."""
    return [
        TrialConfig(
            **shape,
            task=TaskConfig(modulus=11),
            batch_size=17,
            data_fraction=0.3 + 0.1 * index,
            weight_decay=0.3 * index,
            learning_rate=1e-3 * (1 + index),
            adam_beta1=0.8 + 0.02 * index,
            steps=20 + 27 * index,
            # The last one is exchanged where captured steps are replayed.
            drift=Drift.of({96: {"shift": 0.5, "split": 1}} if index == 4 else {}),
            seed=index,
        )
        for index in range(5)
    ]


def rows(shape: dict[str, Any], capture: Callable[..., Any] | None) -> tuple[list[Any], int]:
    captures = 0

    def counted(step: Callable[[], None]) -> Callable[[], None]:
        nonlocal captures
        captures += 1
        return capture_by_recording(step)

    run = LaneRun(queue(shape), measuring=RARELY, lanes=3)
    run._stepper._graph = StepGraph(counted if capture else None)
    measurements: list[Measurement] = []
    while not run.finished:
        measurements += run.advance(1)
    return [comparable(m) for m in measurements], captures


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_replayed_steps_give_the_same_bits(shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Through refills and with ever fewer lanes, with the optimiser that takes its settings from the device."""
    monkeypatch.setattr(optimiser, "_lane_by_lane", optimiser._all_together)
    eager, none = rows(shape, None)
    replayed, captures = rows(shape, capture_by_recording)
    assert replayed == eager
    assert none == 0
    assert captures == 2, "once with three lanes, once with two"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_nothing_in_a_block_waits_for_the_device_or_computes_elsewhere(shape: dict[str, Any]) -> None:
    """On the device `meta`, where tensors have no values: reading one on the host is an error."""
    run = LaneRun(queue(shape), measuring=RARELY, lanes=3, device="meta")
    run._refill()
    run._train(8)
    assert set(run.ages.values()) == {8}
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        run._lanes.weights.sum().item()
