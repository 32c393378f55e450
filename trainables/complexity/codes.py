"""The integers that stand for one tensor, and the exact arithmetic that turns them into weights.

Reconstruction is part of the decoder, so it must give the same bits on every machine. Every product and
sum below is over integers (times powers of two) small enough to be exact in float64: then neither the order
of a sum nor the number of threads can matter, and a fast matrix product may be used. Only the last product,
with the step, rounds, once per weight, and so does the conversion to the tensor's dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Integers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

#: Steps are 2^(k/16) for an integer k; the sixteen fractions are written out since `pow` differs by machine.
STEPS_PER_OCTAVE = 16
_FRACTIONS = tuple(
    float.fromhex(text)
    for text in (
        "0x1.0000000000000p+0",
        "0x1.0b5586cf9890fp+0",
        "0x1.172b83c7d517bp+0",
        "0x1.2387a6e756238p+0",
        "0x1.306fe0a31b715p+0",
        "0x1.3dea64c123422p+0",
        "0x1.4bfdad5362a27p+0",
        "0x1.5ab07dd485429p+0",
        "0x1.6a09e667f3bcdp+0",
        "0x1.7a11473eb0187p+0",
        "0x1.8ace5422aa0dbp+0",
        "0x1.9c49182a3f090p+0",
        "0x1.ae89f995ad3adp+0",
        "0x1.c199bdd85529cp+0",
        "0x1.d5818dcfba487p+0",
        "0x1.ea4afa2a490dap+0",
    )
)

#: Float64 holds all integers up to here.
EXACT = 2.0**53


@dataclass(frozen=True, slots=True)
class Zeros:
    """A tensor the loss does not see, or that is zero."""


@dataclass(frozen=True, slots=True)
class Direct:
    """Weights rounded one by one: weight = step x integer."""

    step: int
    """The step is 2^(step / 16)."""
    integers: Integers
    """[number of weights]"""


@dataclass(frozen=True, slots=True)
class Factors:
    """A matrix as two rounded factors: weights = step x left diag(2^-exponents) right."""

    step: int
    left: Integers
    """[rank, rows]: component k's column of the left factor, U_k s_k / step rounded."""
    right: Integers
    """[rank, columns]: s_k V_k / step rounded."""
    exponents: Integers
    """[rank]: log2(s_k / step) rounded, so that the product is in the scale of the matrix again."""


#: Integers of larger magnitude are not coded: rounding that finely is no compression.
LARGEST_INTEGER = 2**30

Code = Zeros | Direct | Factors


def step_size(step: int) -> float:
    """2^(step / 16), the same float64 on every machine."""
    octave, fraction = divmod(step, STEPS_PER_OCTAVE)
    return math.ldexp(_FRACTIONS[fraction], octave)


def is_exact(code: Factors) -> bool:
    """Whether the product of these factors is exact in float64 in whatever order it is summed."""
    if code.exponents.size == 0:
        return True
    largest = int(code.exponents.max())
    reach = np.abs(code.left).max(axis=1).astype(np.float64) * np.abs(code.right).max(axis=1).astype(np.float64)
    return bool(np.sum(np.ldexp(reach, largest - code.exponents)) < EXACT)


def weights(code: Code, size: int) -> Floats:
    """The weights as float64 [size], row by row; the caller has checked that the code belongs to that size."""
    if isinstance(code, Zeros):
        return np.zeros(size)
    if isinstance(code, Direct):
        return code.integers.astype(np.float64) * step_size(code.step)
    scaled = np.ldexp(code.left.astype(np.float64), -code.exponents[:, None])
    return np.asarray((scaled.T @ code.right.astype(np.float64)) * step_size(code.step)).reshape(-1)


def reconstruct(code: Code, like: Tensor) -> Tensor:
    """The weights as a tensor with the shape, dtype and device of `like`, whose values are not used."""
    return torch.from_numpy(weights(code, like.numel())).to(like.dtype).reshape(like.shape).to(like.device)
