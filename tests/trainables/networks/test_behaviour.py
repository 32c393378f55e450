"""Behaviour of a decoded network beside its original's: against loops over single examples."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.networks.small import GROUPED, measured, memorised, trained
from trainables import MeasurementError
from trainables.networks import Examples, LoadedNetwork
from trainables.networks.behaviour import Behaviour, Limits, Pair, Part, behaviour, calibration_error


def slow_calibration_error(confidences: list[float], right: list[bool], bins: int) -> float:
    """Equation 3 of Guo et al. 2017, bin by bin."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, p in enumerate(confidences) if (m - 1) < p * bins <= m]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


@given(
    answers=st.lists(st.tuples(st.floats(1e-3, 1.0), st.booleans()), min_size=1, max_size=60),
    bins=st.integers(1, 20),
)
def test_the_calibration_error_is_that_of_its_equation(answers: list[tuple[float, bool]], bins: int) -> None:
    confidences, right = [p for p, _ in answers], [r for _, r in answers]
    fast = calibration_error(torch.tensor(confidences, dtype=torch.float64), torch.tensor(right), bins)
    assert fast == pytest.approx(slow_calibration_error(confidences, right, bins), abs=1e-12)


@pytest.mark.parametrize(
    ("confidences", "right", "error"),
    [
        ([1.0, 1.0], [True, True], 0.0),
        ([1.0, 1.0], [False, False], 1.0),
        ([0.8] * 5, [True, True, True, True, False], 0.0),
        ([0.9, 0.9, 0.6, 0.6], [True, False, True, True], 0.5 * 0.4 + 0.5 * 0.4),
    ],
)
def test_calibration_errors_that_are_known(confidences: list[float], right: list[bool], error: float) -> None:
    assert calibration_error(torch.tensor(confidences), torch.tensor(right)) == pytest.approx(error, abs=1e-7)


def single_answers(network: LoadedNetwork, parameters: dict[str, Tensor]) -> list[int]:
    """The answer to each validation example, one forward pass each."""
    lanes = {name: weight[None] for name, weight in parameters.items()}
    return [
        int(network.architecture.forward(lanes, network.validation.inputs[[i]])[0, 0].argmax())
        for i in range(len(network.validation))
    ]


@pytest.mark.parametrize(("trial", "epsilon"), [(None, 0.5), (GROUPED, 0.3)])
def test_behaviour_is_what_single_examples_say(trial: None, epsilon: float) -> None:
    network = memorised() if trial is None else trained(trial)
    decoded = measured(network, epsilon).result.decoded
    seen = behaviour(network, decoded)
    before, after = single_answers(network, network.parameters), single_answers(network, decoded)
    labels = network.validation.targets.tolist()
    count = len(labels)
    assert seen.examples == count
    assert seen.changed == sum(a != b for a, b in zip(before, after, strict=True)) / count
    assert seen.accuracy == Pair(
        *(sum(a == y for a, y in zip(each, labels, strict=True)) / count for each in (before, after))
    )
    members = {f"class {one}": [i for i, y in enumerate(labels) if y == one] for one in sorted(set(labels))}
    if network.validation.group is not None:
        group = network.validation.group.tolist()
        members["the group"] = [i for i in range(count) if group[i]]
        members["the rest beside the group"] = [i for i in range(count) if not group[i]]
    assert [part.name for part in seen.parts] == list(members)
    for part in seen.parts:
        own = members[part.name]
        assert part.examples == len(own)
        right = [sum(each[i] == labels[i] for i in own) for each in (before, after)]
        assert part.accuracy == Pair(*(number / len(own) for number in right))
        assert part.lost == right[0] - right[1]
    assert seen.worst[1].accuracy.decoded == min(part.accuracy.decoded for part in seen.parts)
    assert seen.largest_fall.accuracy.fall == max(part.accuracy.fall for part in seen.parts)
    assert seen.accuracy.decoded == measured(network, epsilon).scores.val_accuracy


def test_the_same_weights_behave_alike() -> None:
    network = memorised()
    seen = behaviour(network, network.parameters)
    assert seen.changed == 0
    assert all(pair.fall == 0 for pair in (seen.accuracy, seen.calibration_error))
    assert all(part.lost == 0 for part in seen.parts)
    assert Limits(accuracy_fall=0, part_fall=0, changed=0, calibration_rise=0).exceeded(seen) == []


def test_without_validation_examples_there_is_nothing_to_compare() -> None:
    network = memorised()
    none = Examples(network.validation.inputs[:0], network.validation.targets[:0])
    with pytest.raises(MeasurementError, match="this network has none"):
        behaviour(dataclasses.replace(network, validation=none), network.parameters)


def made(**changes: object) -> Behaviour:
    usual = {
        "examples": 100,
        "accuracy": Pair(1.0, 1.0),
        "parts": (Part("class 0", 50, Pair(1.0, 1.0)), Part("class 1", 50, Pair(1.0, 1.0))),
        "changed": 0.0,
        "calibration_error": Pair(0.1, 0.1),
    }
    return Behaviour(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"accuracy": Pair(1.0, 0.991)}, []),
        ({"accuracy": Pair(1.0, 0.98)}, ["accuracy falls from 1.0000 to 0.9800, by more than 0.01"]),
        ({"accuracy": Pair(0.98, 1.0), "calibration_error": Pair(0.3, 0.1)}, []),
        ({"changed": 0.03}, ["0.0300 of the answers change, more than 0.02"]),
        (
            {"calibration_error": Pair(0.1, 0.2)},
            ["calibration error rises from 0.1000 to 0.2000, by more than 0.05"],
        ),
        # One lost example of three is a third of a class, and allowed; two are not.
        ({"parts": (Part("class 0", 3, Pair(1.0, 2 / 3)),)}, []),
        (
            {"parts": (Part("class 0", 3, Pair(1.0, 1 / 3)), Part("the group", 10, Pair(0.9, 0.1)))},
            [
                "accuracy on the group falls from 0.9000 to 0.1000 (8 of 10 examples), and in 1 more classes or "
                "groups, by more than 0.05"
            ],
        ),
    ],
)
def test_limits_say_what_exceeds_them(changes: dict[str, object], words: list[str]) -> None:
    assert Limits().exceeded(made(**changes)) == words


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_limits_are_shares(wrong: float) -> None:
    with pytest.raises(MeasurementError, match="changed must be a share from 0 to 1"):
        Limits(changed=wrong)
