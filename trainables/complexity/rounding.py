"""Rounding a network at one resolution: per tensor directly, or as two factors cut by SVD.

The resolution beta is the bin size in units of what the loss feels: a tensor of mean curvature h is rounded
with the step beta / sqrt(h). A matrix kept as factors is cut at a share of its nuclear norm, and both factors
are rounded in the scale of the matrix (U s and s V), so that what is smaller than the step rounds to nothing.
Of the ways to code a matrix the one with the least h |W - W'|^2 + price x bits is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.complexity.codes import (
    LARGEST_INTEGER,
    STEPS_PER_OCTAVE,
    Code,
    Direct,
    Factors,
    Floats,
    Zeros,
    is_exact,
    reconstruct,
    step_size,
    weights,
)
from trainables.complexity.curvature import Curvature
from trainables.complexity.estimate import code_bits
from trainables.complexity.network import matrix_shape
from trainables.complexity.network_coder import LARGEST_RANK, LARGEST_STEP

#: Shares of the nuclear norm at which a matrix may be cut.
SHARES = (1.0, 0.85, 0.7, 0.5, 0.35)

#: h |W - W'|^2 that one bit is worth at high resolution: d(step^2 / 12) / d(bits) = ln 2 / 6 x step^2.
PRICE = math.log(2) / 6


@dataclass(frozen=True, slots=True)
class Rounded:
    """A network rounded at one resolution."""

    codes: dict[str, Code]
    parameters: dict[str, Tensor]
    """What the codes reconstruct, exactly as the decoder will."""
    bits: float
    """Estimated length of the stream, checksum left out."""


@dataclass(frozen=True, slots=True)
class _Decomposition:
    left: Floats
    """[rows, components], orthonormal."""
    right: Floats
    """[components, columns]: s V, largest first."""
    singular_values: Floats
    ranks: tuple[int, ...]
    """The ranks at which the shares of the nuclear norm cut, without repetition."""


class Rounder:
    """Everything about a network that does not depend on the resolution, computed once."""

    def __init__(
        self, parameters: Mapping[str, Tensor], felt: Mapping[str, Curvature], *, factors: bool = True
    ) -> None:
        self._parameters = parameters
        self._curvature = {name: curvature.mean for name, curvature in felt.items()}
        self._weights: dict[str, Floats] = {}
        self._decompositions: dict[str, _Decomposition] = {}
        for name, tensor in parameters.items():
            values = tensor.detach().cpu().double().numpy() * felt[name].seen.cpu().numpy()
            self._weights[name] = values.reshape(-1)
            shape = matrix_shape(tuple(tensor.shape))
            if factors and shape is not None and min(shape) > 1 and self._curvature[name] > 0 and values.any():
                self._decompositions[name] = _decompose(values.reshape(shape))

    def round(self, beta: float, thrift: float = 1.0) -> Rounded | None:
        """Round at one resolution; None where the integers would be too large to be worth it.

        Args:
            beta: resolution, in square roots of nats.
            thrift: how many times its price at high resolution a bit is taken to be worth: above 1 favours
                fewer components over finer ones.
        """
        codes: dict[str, Code] = {}
        bits = 0.0
        for name, values in self._weights.items():
            curvature = self._curvature[name]
            if curvature == 0.0 or not values.any():
                codes[name] = Zeros()
                continue
            step = round(STEPS_PER_OCTAVE * math.log2(beta / math.sqrt(curvature)))
            step = min(step, LARGEST_STEP)
            if step < -LARGEST_STEP:
                return None
            direct = _direct(values, step)
            if direct is None:
                return None
            code, code_bits = direct
            chosen: Code = code
            decomposition = self._decompositions.get(name)
            if decomposition is not None:
                price = thrift * PRICE * step_size(step) ** 2
                chosen, code_bits = _cheapest(values, code, code_bits, decomposition, step, price)
            codes[name] = chosen
            bits += code_bits
        parameters = {name: reconstruct(codes[name], tensor) for name, tensor in self._parameters.items()}
        return Rounded(codes, parameters, bits)


def _decompose(matrix: Floats) -> _Decomposition:
    """SVD through the Gram matrix of the shorter side, which float64 affords and is several times faster."""
    rows, columns = matrix.shape
    if rows <= columns:
        _, vectors = np.linalg.eigh(matrix @ matrix.T)
        left = vectors[:, ::-1]
        right = left.T @ matrix
        singular_values = np.sqrt((right * right).sum(axis=1))
    else:
        _, vectors = np.linalg.eigh(matrix.T @ matrix)
        product = matrix @ vectors[:, ::-1]
        singular_values = np.sqrt((product * product).sum(axis=0))
        left = product / np.maximum(singular_values, np.finfo(np.float64).tiny)
        right = singular_values[:, None] * vectors[:, ::-1].T
    reached = np.cumsum(singular_values)
    cuts = {int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12))) + 1 for share in SHARES}
    longest = min(len(singular_values), LARGEST_RANK)
    ranks = tuple(sorted({min(rank, longest) for rank in cuts}))
    return _Decomposition(left, right, singular_values, ranks)


def _direct(values: Floats, step: int) -> tuple[Direct, float] | None:
    scaled = np.rint(values / step_size(step))
    if not np.abs(scaled).max() <= LARGEST_INTEGER:
        return None
    integers = scaled.astype(np.int32)
    code = Direct(step, integers)
    return code, code_bits(code)


def _cheapest(
    values: Floats, code: Direct, bits: float, decomposition: _Decomposition, step: int, price: float
) -> tuple[Code, float]:
    """The best of the direct code and the factors at every cut."""
    size = step_size(step)
    # A component whose length is below half a step rounds to nothing: no need to look at it.
    alive = int(np.searchsorted(-decomposition.singular_values, -size / 2))
    if alive == 0 or decomposition.singular_values[0] / size > LARGEST_INTEGER:
        return code, bits
    exponents = np.rint(np.log2(decomposition.singular_values[:alive] / size)).astype(np.int32)
    left = np.rint(decomposition.left[:, :alive].T * np.ldexp(1.0, exponents)[:, None]).astype(np.int32)
    right = np.rint(decomposition.right[:alive] / size).astype(np.int32)
    kept = np.flatnonzero(left.any(axis=1) & right.any(axis=1))
    best: tuple[Code, float] = (code, bits)
    lowest = float(np.square(code.integers * size - values).sum()) + price * bits
    for rank in {int(np.searchsorted(kept, rank)) for rank in decomposition.ranks}:
        chosen = kept[:rank]
        if rank == 0:
            continue
        factors = Factors(step, left[chosen], right[chosen], exponents[chosen])
        factor_bits = code_bits(factors)
        if factor_bits >= bits or not is_exact(factors):
            continue
        total = float(np.square(weights(factors, values.size) - values).sum()) + price * factor_bits
        if total < lowest:
            lowest, best = total, (factors, factor_bits)
    return best


def uniform(parameters: Mapping[str, Tensor]) -> dict[str, Curvature]:
    """The curvature to start from: every tensor is felt in proportion to its own size."""
    found = {}
    for name, tensor in parameters.items():
        square = float(tensor.double().square().mean())
        seen = torch.ones((), dtype=torch.bool, device=tensor.device)
        found[name] = Curvature(1 / square if square > 0 else 0.0, seen)
    return found
