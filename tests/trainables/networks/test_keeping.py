"""The largest bound that keeps something: against trying every number of two digits, and on networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.networks.small import memorised
from trainables import MeasurementError, TrialConfig
from trainables.networks.keeping import keep_accuracy, largest_epsilon
from trainables.networks.measure import measure_network, scores
from trainables.networks.network import LoadedNetwork, trained_network
from trainables.schedule import SMALLEST_EPSILON

TWO_DIGITS = sorted(float(f"{digits}e{power}") for power in range(-12, 3) for digits in range(10, 100))


@given(limit=st.floats(2e-9, 90.0), below=st.floats(2e-9, 90.0))
def test_where_it_is_kept_up_to_a_limit_the_answer_is_the_largest_number_of_two_digits(
    limit: float, below: float
) -> None:
    asked = []

    def holds(epsilon: float) -> bool:
        asked.append(epsilon)
        return epsilon <= limit

    slow = [number for number in TWO_DIGITS if SMALLEST_EPSILON <= number < below and number <= limit]
    assert largest_epsilon(holds, below) == (slow[-1] if slow else None)
    assert len(asked) <= 27
    assert len(set(asked)) == len(asked)


@given(seed=st.integers(0, 2**32), share=st.floats(0.05, 0.95), below=st.floats(1e-6, 90.0))
def test_where_it_comes_and_goes_the_answer_holds_and_the_next_number_does_not(
    seed: int, share: float, below: float
) -> None:
    """Not monotone at all: each number holds or not by a hash."""
    answers: dict[float, bool] = {}

    def holds(epsilon: float) -> bool:
        answers[epsilon] = hash((seed, epsilon)) % 1000 < 1000 * share
        return answers[epsilon]

    largest = largest_epsilon(holds, below)
    if largest is None:
        assert not any(answers.values())
        return
    assert answers[largest]
    above = TWO_DIGITS[TWO_DIGITS.index(largest) + 1]
    assert above >= below or answers[above] is False


@pytest.mark.parametrize(("holds", "expected"), [(lambda _: True, 3.1), (lambda _: False, None)])
def test_what_always_or_never_holds(holds: Callable[[float], bool], expected: float | None) -> None:
    assert largest_epsilon(holds, math.log(23)) == expected


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 1.0])
def test_an_accuracy_is_kept_by_the_stream_that_is_returned(accuracy: float) -> None:
    network = memorised()
    kept = keep_accuracy(network, accuracy)
    own = scores(network, network.parameters)
    assert kept.training
    assert kept.validation == (own.val_accuracy >= accuracy)
    assert kept.decoded.scores.train_accuracy >= accuracy
    # The same bound, measured by itself, gives the same bytes.
    (alone,) = measure_network(network, [kept.decoded.result.epsilon])
    assert alone.result.bitstream == kept.decoded.result.bitstream
    assert scores(network, alone.result.decoded) == kept.decoded.scores


def test_a_higher_accuracy_takes_no_larger_bound_here() -> None:
    epsilons = [keep_accuracy(memorised(), accuracy).decoded.result.epsilon for accuracy in (0.5, 0.9, 1.0)]
    assert epsilons == sorted(epsilons, reverse=True)
    assert epsilons[0] > epsilons[-1]


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [(0.0, "share above 0 and at most 1, got 0"), (1.5, "got 1.5"), (math.nan, "got nan")],
)
def test_what_is_no_accuracy_is_refused(accuracy: float, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        keep_accuracy(memorised(), accuracy)


def test_an_accuracy_that_the_network_does_not_have_is_refused() -> None:
    network = memorised()
    untrained = trained_network(
        network.trial or TrialConfig(), {name: 0 * weight for name, weight in network.parameters.items()}
    )
    with pytest.raises(
        MeasurementError, match=r"must be one that the network has, got 0\.9; its training accuracy"
    ):
        keep_accuracy(untrained, 0.9)


def test_the_network_of_these_tests_has_memorised_and_no_more() -> None:
    network: LoadedNetwork = memorised()
    own = scores(network, network.parameters)
    assert own.train_accuracy == 1.0
    assert own.val_accuracy < 0.9
