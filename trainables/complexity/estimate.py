"""How long the entropy coder will make integers, without coding them: what candidates are ranked by.

Only the encoder looks at these numbers, so they may be floats.
"""

from __future__ import annotations

import math

import numpy as np

from trainables.complexity.codes import Code, Direct, Factors, Integers

#: Kind, step and mean magnitude of a tensor, rank and exponents of factors; an exponent; a table's new magnitude.
_TENSOR_BITS = 14
_EXPONENT_BITS = 1
_LEARNING_BITS = 4


def geometric_bits(mean: float) -> float:
    """Bits of an integer with a two-sided geometric distribution of this mean magnitude, above 0."""
    theta = (math.sqrt(1 + mean * mean) - 1) / mean
    return math.log2((1 + theta) / (1 - theta)) - mean * math.log2(theta)


def code_bits(code: Code) -> float:
    """About how many bits a tensor will be coded in."""
    if isinstance(code, Direct):
        return _TENSOR_BITS + estimated_bits(code.integers)
    if isinstance(code, Factors):
        bits = 2.0 * _TENSOR_BITS + _EXPONENT_BITS * code.exponents.size
        # The coder knows from their exponents how large components are.
        for exponent in np.unique(code.exponents):
            alike = code.exponents == exponent
            bits += estimated_bits(code.left[alike]) + estimated_bits(code.right[alike])
        return bits
    return 0.0


def estimated_bits(integers: Integers) -> float:
    """About how many bits the integers will be coded in; 0 where all are zero.

    The entropy of their magnitudes, a bit for every sign, and what their table costs to learn; or, where hardly
    one occurs twice, the length by a distribution that is known but for its mean.
    """
    magnitudes = np.abs(integers.reshape(-1))
    size, largest = magnitudes.size, int(magnitudes.max(initial=0))
    if largest == 0:
        return 0.0
    if largest > 16 * size + 65536:
        return size * geometric_bits(float(magnitudes.mean()))
    counts = np.bincount(magnitudes)
    by_mean = size * geometric_bits(int(counts @ np.arange(counts.size)) / size)
    occurring = counts[counts > 0]
    entropy = size * math.log2(size) - float(occurring @ np.log2(occurring))
    signs = size - int(counts[0])
    return min(by_mean, entropy + signs + _LEARNING_BITS * occurring.size)
