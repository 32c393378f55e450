"""Square roots against Python's, which are correctly rounded."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from trainables.numerics.roots import round_roots_correctly, square_root


@pytest.fixture
def _rounding_correctly() -> Iterator[None]:
    round_roots_correctly(True)
    yield
    round_roots_correctly(False)


@pytest.mark.usefixtures("_rounding_correctly")
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-300, 1e300])
def test_roots_are_correctly_rounded_where_that_is_promised(scale: float) -> None:
    values = torch.rand(1000, dtype=torch.float64) * scale
    assert square_root(values).tolist() == [math.sqrt(value) for value in values.tolist()]


@pytest.mark.usefixtures("_rounding_correctly")
def test_they_have_shape_type_and_gradient_of_torchs() -> None:
    values = torch.tensor([[0.25, 4.0], [9.0, 0.0]], requires_grad=True)
    roots = square_root(values)
    assert (roots.shape, roots.dtype) == (values.shape, values.dtype)
    torch.testing.assert_close(torch.autograd.grad(roots.sum(), values)[0], 0.5 / values.detach().sqrt())
    assert square_root(torch.tensor(2.0)).shape == ()
    assert square_root(values.detach().T[1:]).tolist() == [[2.0, 0.0]]


def test_elsewhere_they_are_torchs() -> None:
    values = torch.rand(1000)
    assert torch.equal(square_root(values), values.sqrt())
