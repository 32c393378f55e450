"""Generalisation bounds as formulas: how often a network can be wrong on unseen examples, given its code.

All rest on one argument. Before the training examples are drawn, fix a code: a decoder and the bit strings it
accepts, none a prefix of another, so that the sum of 2^-bits over all networks is at most 1 (Kraft). Give each
network h of L bits the share delta 2^-L of the allowed probability of being wrong. Then with probability 1 - delta
over the draw, no network of the code has fewer training errors than its share allows, *all networks together*. So
it does not matter how the network at hand was found, how many were tried, at which step, epsilon or search budget.
Whatever the decoder must know besides the stream (the architecture) counts as bits or is fixed beforehand. The draw
is of one training set: bounds for several seeds hold together at delta / seeds each.

    unseen_error_bound      on the examples not trained on; the one that is about generalising
    all_error_bound         the same on all examples of the table, trained on or not
    binary_kl_bound         on all examples; Chernoff's bound in place of the exact tail
    paper_bound             on all examples; the form of arXiv 2412.09810

Errors are counted against the right labels. Where training labels were replaced by wrong ones (label noise), a
network that repeats a wrong label has an error that its training accuracy hides: add the number of replaced labels
to the training errors; the sum is an upper limit.

A look-up table of the training set is the rival to beat: `lookup_table_bits`. It makes no training error, and on
unseen examples it guesses, `chance_error`.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import AnalysisError
from analysis.hypergeometric import largest_unseen_errors

#: Probability that a bound does not hold, over the random choice of training examples.
DELTA = 0.05

_BISECTIONS = 60


def integer_bits(value: ArrayLike) -> NDArray[np.int64]:
    """Return the bits of whole numbers from 1 up in Elias' delta code, which marks its own end.

    The code has floor(log2 v) bits of v after its leading one, and their number plus 1 in the gamma code: 1 bit for
    1, 4 for 2 and 3, 16 for 652 (P. Elias, Universal codeword sets, IEEE Trans. Inf. Theory 21(2), 1975).

    Args:
        value: any shape, whole numbers from 1 up.

    Raises:
        AnalysisError: a number is below 1, or not whole.
    """
    numbers = _whole("a number to be coded", value, lowest=1)
    length = _log2_floor(numbers)
    return length + 2 * _log2_floor(length + 1) + 1


def stream_bits(stream_bytes: ArrayLike, other_bits: ArrayLike = 0) -> NDArray[np.float64]:
    """Return the bits of a byte stream as a word of a prefix-free code.

    Byte strings of all lengths are not a prefix-free code: at 8 bits a byte alone, the strings of each single
    length would use up the whole probability. So the number of bytes comes first, in Elias' delta code: over all
    strings of all lengths m, sum 256^m 2^-(8 m + delta(m)) = sum 2^-delta(m) = 1. A stream's checksum is counted
    although the other bytes determine it.

    Args:
        stream_bytes: length of the stream, such as `complexity_bytes`; any shape, from 1 up.
        other_bits: further prefix-free bits that the decoder must be told, such as `architecture_bits`.

    Raises:
        AnalysisError: a stream has no bytes, or bits are below 0.
    """
    length = _whole("a stream's bytes", stream_bytes, lowest=1)
    return 8.0 * length + integer_bits(length) + _bits(other_bits)


def architecture_bits(
    width: ArrayLike, layers: ArrayLike, heads: ArrayLike, hidden_width: ArrayLike
) -> NDArray[np.float64]:
    """Return the bits that tell the decoder one architecture out of all that a trial can have.

    Four numbers in Elias' delta code, 1 bit for transformer or MLP, 1 bit for the kind of attention. Vocabulary,
    classes and length of the sequences follow from the task, whose inputs are given. For the paper's network of
    width 128 these are 38 bits.

    Raises:
        AnalysisError: a number is below 1, or not whole.
    """
    numbers = (width, layers, heads, hidden_width)
    return np.asarray(2.0 + sum(integer_bits(number) for number in numbers))


def lookup_table_bits(training_examples: ArrayLike, classes: ArrayLike) -> NDArray[np.float64]:
    """Return the bits of a look-up table of the training labels: ceil(n log2 classes).

    A plain table would also say which inputs were trained on, in log2 C(N, n) more bits. But a structure that
    answers any key, and correctly only the n it was made for, comes arbitrarily close to n log2 classes (M.
    Dietzfelbinger, R. Pagh, Succinct data structures for retrieval and approximate membership, ICALP 2008). That is
    the best form of this rival.

    Args:
        training_examples: n, from 1 up.
        classes: from 2 up.

    Raises:
        AnalysisError: fewer training examples or classes.
    """
    n = _whole("training examples", training_examples, lowest=1)
    return np.ceil(n * np.log2(_whole("classes", classes, lowest=2)))


def chance_error(classes: ArrayLike) -> NDArray[np.float64]:
    """Return 1 - 1/classes, the error of guessing evenly, which a look-up table has on unseen examples.

    Raises:
        AnalysisError: fewer than 2 classes.
    """
    return 1 - 1 / _whole("classes", classes, lowest=2)


def unseen_error_bound(
    code_bits: ArrayLike,
    training_errors: ArrayLike,
    training_examples: ArrayLike,
    examples: ArrayLike,
    delta: float = DELTA,
) -> NDArray[np.float64]:
    """Bound the share of wrong answers among the examples that were not trained on.

    A table of N examples with right labels is fixed; n of them, drawn evenly without replacement, are trained on.
    A network h with m errors among the other N - n and k among the n has k + m in the table, so its training
    errors are hypergeometric, and P(X <= k; N, k + m, n) <= delta 2^-L has probability delta 2^-L at most. Hence
    with probability 1 - delta, for all h of the code: m is at most the largest number with

        P(X <= k; N, k + m, n) > delta 2^-L,  X the marked ones among n drawn from N with k + m marked.

    The only assumptions are the even draw and a code fixed before it: examples need not be independent, and nothing
    is approximated. This is the transductive form of the Occam bound (A. Blum, J. Langford, PAC-MDL bounds, COLT
    2003), with a code of networks instead of labels.

    Args:
        code_bits: L, from 0 up, see `stream_bits`; all arguments broadcast against each other.
        training_errors: k, from 0 to n, of the network that the code decodes to, by the right labels.
        training_examples: n, from 1 to N - 1.
        examples: N.
        delta: probability, over the draw, that the bound fails for any network of the code.

    Returns:
        m / (N - n), shares from 0 to 1, in the broadcast shape.

    Raises:
        AnalysisError: arguments outside these ranges.
    """
    k, n, total = _table_counts(training_errors, training_examples, examples)
    return _unseen_errors(code_bits, k, n, total, delta) / (total - n)


def all_error_bound(
    code_bits: ArrayLike,
    training_errors: ArrayLike,
    training_examples: ArrayLike,
    examples: ArrayLike,
    delta: float = DELTA,
) -> NDArray[np.float64]:
    """Bound the share of wrong answers among all N examples: (k + m) / N with the m of `unseen_error_bound`.

    A look-up table of the training set errs on (1 - n/N)(1 - 1/classes) of them: a bound below chance here says
    less than it seems to. For arguments, assumptions and errors see `unseen_error_bound`.
    """
    k, n, total = _table_counts(training_errors, training_examples, examples)
    return (k + _unseen_errors(code_bits, k, n, total, delta)) / total


def binary_kl_bound(
    code_bits: ArrayLike, training_errors: ArrayLike, training_examples: ArrayLike, delta: float = DELTA
) -> NDArray[np.float64]:
    """Bound the error over all examples: the largest p with n kl(k/n, p) <= L ln 2 + ln(1/delta).

    kl(q, p) = q ln(q/p) + (1 - q) ln((1 - q)/(1 - p)). Chernoff's bound P(X <= k) <= exp(-n kl(k/n, p)) replaces
    the exact tail (J. Langford, Tutorial on practical prediction theory for classification, JMLR 6, 2005, relative
    entropy Occam bound; as a PAC-Bayes bound with all weight on one network, Seeger 2002, it would cost ln n more).
    It holds for independent examples, where it bounds the expected error, and for a draw without replacement from a
    table, where it bounds the error over the table (W. Hoeffding, JASA 58, 1963, theorem 4); there
    `all_error_bound` is smaller.

    Args:
        code_bits: L, from 0 up, see `stream_bits`.
        training_errors: k, from 0 to n.
        training_examples: n, from 1 up.
        delta: probability that the bound fails for any network of the code.

    Returns:
        Shares from 0 to 1, in the broadcast shape.

    Raises:
        AnalysisError: arguments outside these ranges.
    """
    k, n = _counts(training_errors, training_examples)
    allowed = -_log_threshold(code_bits, delta) / n
    q = k / n
    q, allowed = np.broadcast_arrays(q, allowed)
    # kl(q, p) grows with p from q on, so bisection finds the largest p; its upper end is returned, the safe side.
    low, high = q.astype(np.float64), np.ones(q.shape)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        within = _binary_kl(q, middle) <= allowed
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return high


def paper_bound(
    code_bits: ArrayLike, training_errors: ArrayLike, training_examples: ArrayLike, delta: float = DELTA
) -> NDArray[np.float64]:
    """Return the bound of arXiv 2412.09810: k/n + sqrt((K ln 2 + 2 ln K + ln(1/delta)) / (2 n)), on all examples.

    This is Hoeffding's inequality over a code, the finite-hypothesis bound with K ln 2 + 2 ln K instead of ln |H|.
    The term 2 ln K pays for the length of the string: whole bytes alone, K = 8 m, have sum 256^m 2^-K K^-2 < 1. So
    here K = 8 `complexity_bytes` (plus the bits of the architecture), without a length in front. The bound is never
    below `binary_kl_bound` of the same bits.

    Args:
        code_bits: K, from 1 up.
        training_errors: k, from 0 to n.
        training_examples: n, from 1 up.
        delta: probability that the bound fails for any network of the code.

    Returns:
        Shares from 0 to 1, in the broadcast shape; 1 where the formula is larger.

    Raises:
        AnalysisError: arguments outside these ranges.
    """
    k, n = _counts(training_errors, training_examples)
    bits = _bits(code_bits)
    if (bits < 1).any():
        raise AnalysisError(f"a code must have at least 1 bit here, got {bits.min():g}")
    return np.minimum(1.0, k / n + np.sqrt((2 * np.log(bits) - _log_threshold(bits, delta)) / (2 * n)))


def largest_stream_bytes(
    error: float,
    training_examples: int,
    examples: int,
    *,
    training_errors: int = 0,
    other_bits: float = 0,
    delta: float = DELTA,
) -> int | None:
    """Return the length of the longest stream whose bound on unseen examples is below an error; None without one.

    Args:
        error: share of the unseen examples.
        training_examples: n.
        examples: N.
        training_errors: k of the decoded network.
        other_bits: see `stream_bits`.
        delta: see `unseen_error_bound`.

    Raises:
        AnalysisError: see `unseen_error_bound`.
    """
    if not 0 < error <= 1:
        raise AnalysisError(f"error is a share and must lie in (0, 1], got {error}")

    def is_short(stream_bytes: int) -> bool:
        bits = stream_bits(stream_bytes, other_bits)
        return bool(unseen_error_bound(bits, training_errors, training_examples, examples, delta) < error)

    if not is_short(1):
        return None
    short = 1
    # This ends, because a string as long as all labels of the table rules nothing out.
    while is_short(2 * short):
        short *= 2
    long = 2 * short
    while long - short > 1:
        middle = (short + long) // 2
        short, long = (middle, long) if is_short(middle) else (short, middle)
    return short


def _unseen_errors(
    code_bits: ArrayLike, k: NDArray[np.int64], n: NDArray[np.int64], total: NDArray[np.int64], delta: float
) -> NDArray[np.int64]:
    log_threshold = _log_threshold(code_bits, delta)
    shape = np.broadcast_shapes(k.shape, n.shape, total.shape, log_threshold.shape)
    k, n, total = (np.broadcast_to(counts, shape).ravel() for counts in (k, n, total))
    return largest_unseen_errors(k, n, total, np.broadcast_to(log_threshold, shape).ravel()).reshape(shape)


def _log_threshold(code_bits: ArrayLike, delta: float) -> NDArray[np.float64]:
    """Return ln(delta 2^-L)."""
    if not 0 < delta < 1:
        raise AnalysisError(f"delta is a probability and must lie in (0, 1), got {delta}")
    return math.log(delta) - math.log(2) * _bits(code_bits)


def _bits(code_bits: ArrayLike) -> NDArray[np.float64]:
    bits = np.asarray(code_bits, dtype=np.float64)
    if not (np.isfinite(bits) & (bits >= 0)).all():
        raise AnalysisError(
            f"bits must be finite and not below 0, got {_first(bits, np.isfinite(bits) & (bits >= 0))}"
        )
    return bits


def _counts(
    training_errors: ArrayLike, training_examples: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    k = _whole("training errors", training_errors, lowest=0)
    n = _whole("training examples", training_examples, lowest=1)
    _require_order("training errors must be at most the training examples", k, n)
    return k, n


def _table_counts(
    training_errors: ArrayLike, training_examples: ArrayLike, examples: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    k, n = _counts(training_errors, training_examples)
    total = _whole("examples", examples, lowest=2)
    _require_order(
        "at least one example must be left that is not trained on: training examples + 1 and all examples",
        n + 1,
        total,
    )
    return k, n, total


def _require_order(words: str, smaller: NDArray[np.int64], larger: NDArray[np.int64]) -> None:
    smaller, larger = np.broadcast_arrays(smaller, larger)
    fine = smaller <= larger
    if not fine.all():
        raise AnalysisError(f"{words}, got {_first(smaller, fine)} and {_first(larger, fine)}")


def _whole(name: str, value: ArrayLike, lowest: int) -> NDArray[np.int64]:
    numbers = np.asarray(value, dtype=np.float64)
    # Beyond 2^53 a float64 skips whole numbers, so a count could have been changed before it arrived here.
    fine = np.isfinite(numbers) & (numbers >= lowest) & (numbers == np.floor(numbers)) & (numbers < 2**53)
    if not fine.all():
        raise AnalysisError(f"{name} must be whole and at least {lowest}, got {_first(numbers, fine)}")
    return numbers.astype(np.int64)


def _first(values: NDArray[np.generic], fine: NDArray[np.bool_]) -> str:
    return f"{values.ravel()[np.argmin(fine.ravel())]:g}"


def _log2_floor(value: NDArray[np.int64]) -> NDArray[np.int64]:
    # frexp is exact, log2 is not: floor(log2(2^k - 1)) would be k for large k.
    return np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1


def _binary_kl(q: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import xlogy

    # xlogy takes 0 ln 0 as 0, but not 0 ln(0 / 0), which would arise for p = q = 1.
    return cast("NDArray[np.float64]", xlogy(q, q / p) + xlogy(1 - q, (1 - q) / np.where(p < 1, 1 - p, 1)))
