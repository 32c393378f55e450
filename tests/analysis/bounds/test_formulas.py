"""Bounds against hand-worked values, exact integers and simulated draws."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.bounds import (
    DELTA,
    all_error_bound,
    architecture_bits,
    binary_kl_bound,
    chance_error,
    integer_bits,
    largest_stream_bytes,
    lookup_table_bits,
    paper_bound,
    stream_bits,
    unseen_error_bound,
)
from analysis.errors import AnalysisError

DELTAS = st.fractions(Fraction(1, 10_000), Fraction(9_999, 10_000), max_denominator=10_000)


@st.composite
def tables(draw: st.DrawFn, largest: int = 80) -> tuple[int, int, int]:
    """k training errors, n training examples, N examples."""
    examples = draw(st.integers(2, largest))
    n = draw(st.integers(1, examples - 1))
    return draw(st.integers(0, n)), n, examples


def exact_unseen_errors(bits: int, k: int, n: int, examples: int, delta: Fraction) -> tuple[int, bool]:
    """The same number in integers, one m after the other, and whether some tail equals the threshold."""
    largest, tie = 0, False
    for m in range(examples - n + 1):
        wrong, right = k + m, examples - k - m
        tail = sum(math.comb(wrong, x) * math.comb(right, n - x) for x in range(k + 1) if n - x >= 0)
        scaled, allowed = (
            tail * delta.denominator << bits,
            delta.numerator * math.comb(examples, n),
        )
        largest = m if scaled > allowed else largest
        tie |= scaled == allowed
    return largest, tie


# --- bits ---------------------------------------------------------------------------------------------------------


def delta_word(number: int) -> str:
    """Elias' delta code as it is written."""
    binary = f"{number:b}"
    length = f"{len(binary):b}"
    return "0" * (len(length) - 1) + length + binary[1:]


def test_integers_cost_what_their_words_have() -> None:
    assert delta_word(10) == "00100010"  # Elias 1975
    numbers = [*range(1, 700), 2**20 - 1, 2**20, 2**40 - 1, 2**52 + 1]
    assert integer_bits(numbers).tolist() == [len(delta_word(number)) for number in numbers]
    words = sorted(delta_word(number) for number in range(1, 2000))
    assert not any(later.startswith(earlier) for earlier, later in pairwise(words))


def test_streams_of_all_lengths_together_are_a_prefix_code() -> None:
    bits = [int(stream_bits(length)) for length in range(1, 300)]
    share = sum(Fraction(256**length, 2**cost) for length, cost in enumerate(bits, start=1))
    assert Fraction(85, 100) < share < 1
    assert stream_bits(652) == 8 * 652 + 16
    assert stream_bits(652, 38) == 8 * 652 + 16 + 38


def test_bits_of_architectures_and_tables() -> None:
    assert architecture_bits(128, 1, 4, 512) == 2 + 14 + 1 + 5 + 16
    assert architecture_bits([128, 64], [1, 2], 4, [512, 256]).tolist() == [38, 2 + 11 + 4 + 5 + 15]
    assert lookup_table_bits(100, 8) == 300
    assert lookup_table_bits(3_831, 113) == math.ceil(3_831 * math.log2(113))
    assert chance_error([2, 113]).tolist() == [0.5, 112 / 113]


# --- worked by hand -----------------------------------------------------------------------------------------------


def test_unseen_errors_by_hand() -> None:
    """4 examples, 2 trained on rightly, 1 bit, delta 1/2: m = 1 has P(0 errors seen) = 1/2, m = 2 has 1/6."""
    assert unseen_error_bound(1, 0, 2, 4, delta=0.5) == 1 / 2
    assert all_error_bound(1, 0, 2, 4, delta=0.5) == 1 / 4
    assert unseen_error_bound(2, 0, 2, 4, delta=0.5) == 1  # 1/6 > 1/8
    # 10 examples, 5 trained on, 1 of them wrong: P(X <= 1) is 26/252 for 5 wrong in all and 6/252 for 6.
    assert unseen_error_bound(2, 1, 5, 10, delta=0.2) == 4 / 5
    assert all_error_bound(2, 1, 5, 10, delta=0.2) == 5 / 10


def test_binary_kl_by_hand() -> None:
    assert binary_kl_bound(10, 0, 100, delta=0.25) == pytest.approx(1 - 2 ** (-12 / 100))
    assert binary_kl_bound(10, 100, 100) == 1
    # n kl(1/2, p) = n ln(1 / (2 sqrt(p (1 - p)))), so 4 p (1 - p) = (delta 2^-L)^(2/n).
    assert binary_kl_bound(9, 50, 100, delta=0.5) == pytest.approx(0.5 + math.sqrt(1 - 2**-0.2) / 2)


def test_the_papers_form_by_hand() -> None:
    expected = 0.05 + math.sqrt((80 * math.log(2) + 2 * math.log(80) + math.log(20)) / 2000)
    assert paper_bound(80, 50, 1000, delta=0.05) == pytest.approx(expected)
    assert paper_bound(80_000, 50, 1000) == 1


def test_the_figures_known_for_modulus_113() -> None:
    """A stream of 652 bytes, 283 of 3,830 training examples wrong: below chance, .991, on unseen pairs."""
    bits = stream_bits(652)
    assert unseen_error_bound(bits, 283, 3_830, 113**2) == pytest.approx(0.8425, abs=5e-5)
    assert binary_kl_bound(bits, 283, 3_830) == pytest.approx(0.7225, abs=5e-5)
    assert unseen_error_bound(stream_bits(1_090), 0, 3_830, 113**2) == pytest.approx(0.9338, abs=5e-5)
    assert unseen_error_bound(lookup_table_bits(3_830, 113), 0, 3_830, 113**2) == 1


# --- against exact integers ---------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(tables(), st.integers(0, 60), DELTAS)
def test_it_is_the_exact_number(table: tuple[int, int, int], bits: int, delta: Fraction) -> None:
    k, n, examples = table
    computed = float(unseen_error_bound(bits, k, n, examples, float(delta))) * (examples - n)
    exact, tie = exact_unseen_errors(bits, k, n, examples, delta)
    assert round(computed) == exact or (tie and round(computed) == exact + 1)


@pytest.mark.parametrize(("bits", "k"), [(0, 400), (0, 3), (40, 0), (900, 55), (2_500, 10), (9_000, 0)])
def test_it_is_the_exact_number_in_a_table_of_3000(bits: int, k: int) -> None:
    n, examples = 900, 3_000
    m = round(float(unseen_error_bound(bits, k, n, examples)) * (examples - n))

    def exceeds(m: int) -> bool:
        tail = sum(math.comb(k + m, x) * math.comb(examples - k - m, n - x) for x in range(k + 1))
        return bool(Fraction(tail << bits, math.comb(examples, n)) > Fraction(1, 20))

    assert exceeds(m)
    assert m == examples - n or not exceeds(m + 1)


@pytest.mark.parametrize("bits", [10, 5_000, 400_000])
def test_a_million_examples(bits: int) -> None:
    """Without training errors the tail is a product of m factors, summed here as logarithms without error."""
    n, examples = 300_000, 1_000_000
    m = round(float(unseen_error_bound(bits, 0, n, examples)) * (examples - n))
    factors = [math.log1p(-n / (examples - i)) for i in range(m + 1)]
    threshold = math.log(DELTA) - bits * math.log(2)
    assert math.fsum(factors[:m]) > threshold >= math.fsum(factors)


def test_codes_of_ten_million_bits_rule_nothing_out() -> None:
    assert unseen_error_bound(1e7, [0, 1_000, 300_000], 300_000, 1_000_000).tolist() == [1, 1, 1]
    assert binary_kl_bound(1e7, 0, 300_000) == pytest.approx(1)
    assert paper_bound(1e7, 0, 300_000) == 1


# --- what holds for all -------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(tables(500), st.floats(0, 800), st.floats(0, 100), st.floats(0.001, 0.9), st.floats(1.01, 1.1))
def test_monotone_and_ordered(
    table: tuple[int, int, int], bits: float, more_bits: float, delta: float, more_delta: float
) -> None:
    k, n, examples = table
    for bound, of_table in ((unseen_error_bound, True), (all_error_bound, True), (binary_kl_bound, False)):
        rest = (n, examples) if of_table else (n,)
        here = float(bound(bits, k, *rest, delta=delta))
        assert 0 <= here <= 1
        assert bound(bits + more_bits, k, *rest, delta=delta) >= here
        assert bound(bits, k, *rest, delta=min(0.99, delta * more_delta)) <= here
        if k < n:
            assert bound(bits, k + 1, *rest, delta=delta) >= here
    exact, chernoff = (
        float(all_error_bound(bits, k, n, examples, delta)),
        float(binary_kl_bound(bits, k, n, delta)),
    )
    assert exact <= chernoff + 1e-9
    assert chernoff <= float(paper_bound(bits + 1, k, n, delta)) + 1e-9


def test_more_training_errors_never_mean_a_smaller_bound_on_unseen_examples() -> None:
    errors = np.arange(301)
    for bits in (0, 20, 300):
        bound = unseen_error_bound(bits, errors, 300, 1_000)
        assert (np.diff(bound) >= 0).all()
        assert bound[0] < bound[50]


def test_arguments_broadcast() -> None:
    bits = np.array([[10.0], [200.0]])
    errors = np.array([0, 3, 40])
    bound = unseen_error_bound(bits, errors, 100, [400, 500, 600])
    assert bound.shape == (2, 3)
    for row in range(2):
        for column in range(3):
            alone = unseen_error_bound(bits[row, 0], errors[column], 100, [400, 500, 600][column])
            assert alone == bound[row, column]
    assert unseen_error_bound(bits, errors, 100, np.zeros((0, 1, 1)) + 500).shape == (0, 2, 3)


# --- simulated draws ----------------------------------------------------------------------------------------------


def drawn_errors(hypotheses: int, wrong: int, n: int, examples: int, draws: int) -> np.ndarray:
    """Training errors [hypotheses, draws] of networks that all err on `wrong` of the examples, each on its own."""
    generator = np.random.default_rng(17)
    errs = generator.permuted(np.tile(np.arange(examples) < wrong, (hypotheses, 1)), axis=1)
    seen = generator.permuted(np.tile(np.arange(examples) < n, (draws, 1)), axis=1)
    return errs.astype(np.int64) @ seen.T.astype(np.int64)


@pytest.mark.parametrize("delta", [0.05, 0.3])
def test_the_bound_holds_for_whatever_is_chosen_after_the_draw(delta: float) -> None:
    """Of 300 networks with words of Elias' delta code the one is chosen that looks best on the part trained on."""
    n, examples, wrong, draws = 40, 80, 40, 4_000
    k = drawn_errors(300, wrong, n, examples, draws)
    words = [delta_word(number) for number in range(1, 301)]
    bits = np.array([len(word) for word in words])
    assert sum(Fraction(1, 2 ** len(word)) for word in words) < 1
    numbers, k_values = np.arange(len(bits)), np.arange(n + 1)

    def failures(bits: np.ndarray) -> tuple[float, float]:
        """Share of draws where the chosen network's promise is broken, and where any network's is."""
        promised = unseen_error_bound(bits[:, None], k_values, n, examples, delta)[numbers[:, None], k]
        broken = (wrong - k) / (examples - n) > promised
        of_all = all_error_bound(bits[:, None], k_values, n, examples, delta)[numbers[:, None], k]
        assert ((wrong / examples > of_all) == broken).all()
        chosen = promised.argmin(0)
        return float(broken[chosen, np.arange(draws)].mean()), float(broken.any(0).mean())

    noise = 3 * math.sqrt(delta * (1 - delta) / draws)
    assert max(failures(bits)) <= delta + noise
    # What the test can see: a bound that forgets the code fails nearly always.
    assert min(failures(0 * bits)) > 0.9


def test_delta_is_hardly_wasted_where_networks_err_independently() -> None:
    """64 networks of 6 bits: some network's promise is broken in nearly a share delta of the draws."""
    n, examples, wrong, delta, draws = 300, 600, 150, 0.4, 4_000
    k = drawn_errors(64, wrong, n, examples, draws)
    promised = unseen_error_bound(6, np.arange(n + 1), n, examples, delta)
    broken = ((wrong - k) / (examples - n) > promised[k]).any(0).mean()
    assert 0.5 * delta < broken <= delta + 3 * math.sqrt(delta * (1 - delta) / draws)


@pytest.mark.parametrize("bound", [binary_kl_bound, paper_bound])
def test_the_other_bounds_hold_on_all_examples(bound: object) -> None:
    n, examples, wrong, delta, draws = 40, 80, 40, 0.3, 4_000
    k = drawn_errors(64, wrong, n, examples, draws)

    def failures(bits: int) -> float:
        promised = bound(bits, np.arange(n + 1), n, delta)  # type: ignore[operator]
        return float((promised[k].min(0) < wrong / examples).mean())

    assert failures(6) <= delta
    assert failures(1) > failures(6)


# --- the longest stream -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [112 / 113, 0.5, 0.1])
def test_the_longest_stream_is_just_short_enough(error: float) -> None:
    longest = largest_stream_bytes(error, 3_831, 113**2, other_bits=38)
    assert longest is not None
    here, longer = (
        float(unseen_error_bound(stream_bits(size, 38), 0, 3_831, 113**2)) for size in (longest, longest + 1)
    )
    assert here < error <= longer


def test_there_may_be_no_such_stream() -> None:
    assert largest_stream_bytes(0.5, 3, 9) is None
    assert largest_stream_bytes(0.5, 3_831, 113**2, training_errors=3_000) is None


# --- what is refused ----------------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused() -> None:
    for call, message in (
        (lambda: unseen_error_bound(-1, 0, 2, 4), "bits must be finite and not below 0, got -1"),
        (lambda: unseen_error_bound([1, math.nan], 0, 2, 4), "bits must be finite and not below 0, got nan"),
        (lambda: unseen_error_bound(1, 3, 2, 4), "at most the training examples, got 3 and 2"),
        (lambda: unseen_error_bound(1, 0.5, 2, 4), "training errors must be whole and at least 0, got 0.5"),
        (lambda: unseen_error_bound(1, 0, [2, 4], 4), "at least one example must be left"),
        (lambda: unseen_error_bound(1, 0, 0, 4), "training examples must be whole and at least 1, got 0"),
        (
            lambda: unseen_error_bound(1, 0, 2, 4, delta=0),
            r"delta is a probability and must lie in \(0, 1\), got 0",
        ),
        (lambda: binary_kl_bound(1, 0, 2, delta=1), r"must lie in \(0, 1\), got 1"),
        (lambda: paper_bound(0, 0, 2), "at least 1 bit here, got 0"),
        (lambda: stream_bits(0), "bytes must be whole and at least 1, got 0"),
        (lambda: integer_bits(math.inf), "must be whole and at least 1, got inf"),
        (lambda: chance_error(1), "classes must be whole and at least 2, got 1"),
        (lambda: largest_stream_bytes(1.5, 3, 9), r"error is a share and must lie in \(0, 1\], got 1.5"),
    ):
        with pytest.raises(AnalysisError, match=message):
            call()
