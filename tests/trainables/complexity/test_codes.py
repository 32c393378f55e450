"""Reconstruction in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.complexity.codes import Factors, is_exact, reconstruct, step_size


@given(st.integers(-4000, 4000))
def test_steps_are_sixteenths_of_octaves(step: int) -> None:
    assert step_size(step) == pytest.approx(2.0 ** (step / 16), rel=1e-12)
    assert step_size(step + 16) == 2 * step_size(step)


def test_factors_are_multiplied_exactly() -> None:
    generator = np.random.default_rng(0)
    left, right = (generator.integers(-5000, 5000, (9, n)).astype(np.int32) for n in (4, 6))
    exponents = generator.integers(-1, 12, 9).astype(np.int32)
    code = Factors(-50, left, right, exponents)
    assert is_exact(code)
    found = reconstruct(code, torch.empty(4, 2, 3, dtype=torch.float64)).reshape(4, 6)
    for i in range(4):
        for j in range(6):
            exact = sum(
                Fraction(int(a * b)) / Fraction(2) ** int(e)
                for a, b, e in zip(left[:, i].astype(object), right[:, j].astype(object), exponents, strict=True)
            )
            assert float(found[i, j]) == float(exact) * step_size(-50)


def test_products_beyond_float64_are_not_exact() -> None:
    large = np.full((1, 3), 2**28, dtype=np.int32)
    assert not is_exact(Factors(0, large, large, np.zeros(1, dtype=np.int32)))
