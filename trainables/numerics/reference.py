"""A certificate that this process computes bits known beforehand, as a run `across machines` promises.

A fixed set of computations is done, one of each kind that training and measuring are made of, and what comes out is
compared with what came out where the known digest was recorded. So the promise is checked rather than assumed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.errors import ConfigError
from trainables.numerics.computing import settled_torch
from trainables.numerics.environment import (
    ACROSS_MACHINES,
    HERE,
    SETTINGS_ACROSS_MACHINES,
    Reproducible,
)
from trainables.numerics.roots import round_roots_correctly, square_root
from trainables.random import generator

REFERENCE_DIGESTS = {"2.13": "ac41a3e8122fc1c9"}
"""Minor version of torch -> digest of the reference computations, the same on every processor they were tried on
(docs/reproducibility.md). Another version of torch brings other kernels."""

_certified = False


def require_across_machines() -> None:
    """Make this process compute the same bits as every other x86-64 machine with AVX2, and check that it does.

    Call it before torch computes anything: libraries choose their kernels once.

    Raises:
        ConfigError: other bits come out, because torch has computed before or the processor is of another kind; or
            the bits of this version of torch are not known.
    """
    global _certified
    if _certified:
        return
    version = ".".join(torch.__version__.split(".")[:2])
    if version not in REFERENCE_DIGESTS:
        known = ", ".join(REFERENCE_DIGESTS)
        raise ConfigError(
            f"reproducible: {ACROSS_MACHINES} needs a version of torch whose bits are known ({known}), got "
            f"{torch.__version__}; install one of these, or leave `reproducible` out"
        )
    before = dict(os.environ)
    os.environ.update(SETTINGS_ACROSS_MACHINES)
    round_roots_correctly(True)
    if reference_digest() == REFERENCE_DIGESTS[version]:
        _certified = True
        return
    round_roots_correctly(False)
    for name in SETTINGS_ACROSS_MACHINES:
        os.environ.pop(name)
    os.environ.update(before)
    settings = " ".join(f"{name}={value}" for name, value in SETTINGS_ACROSS_MACHINES.items())
    raise ConfigError(
        f"reproducible: {ACROSS_MACHINES} needs an x86-64 processor with AVX2 whose kernels are chosen before "
        f"torch computes, and this process computes other bits; start Python with {settings}, or leave "
        "`reproducible` out"
    )


def reproducible_here() -> Reproducible:
    """Say what this process promises: `across machines` once `require_across_machines` has succeeded."""
    return ACROSS_MACHINES if _certified else HERE


def reference_digest() -> str:
    """Return the digest of the reference computations on this machine, 16 hexadecimal digits; uses one thread."""
    digest = hashlib.sha256()
    with settled_torch():
        for values in _reference_values():
            digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def kernels_digest() -> str:
    """Return `reference_digest` as it is while training: where it changes in mid-trial, so do the trial's bits."""
    return _kernels_digest(_certified)


@lru_cache
def _kernels_digest(_certified: bool) -> str:
    """Compute it once for each way of taking roots."""
    return reference_digest()


@torch.no_grad()
def _reference_values() -> Iterator[Tensor]:
    """Compute one value of each kind that rows and complexities are made of."""
    random = generator(0, "reference")

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    for batch, rows, inner, columns in ((1, 64, 128, 64), (2, 8, 14, 8), (3, 57, 33, 23), (3, 24, 32, 29)):
        left, right = drawn(batch, rows, inner), drawn(batch, inner, columns)
        yield left @ right
        yield left.double() @ right.double()
        yield drawn(batch, columns, rows).mT @ right.mT
        yield torch.addmm(drawn(columns), left[0], right[0])
    for size in (8, 33, 96):
        gram = drawn(2, size, 2 * size)
        gram = gram @ gram.mT
        for matrix in (gram, gram.double()):
            values, vectors = torch.linalg.eigh(matrix)
            yield values
            yield vectors
        yield torch.linalg.svdvals(gram.double())
        yield torch.linalg.cholesky(gram.double() + size * torch.eye(size, dtype=torch.float64))
        yield torch.linalg.svd(drawn(2, size, size + 3), full_matrices=False)[1]
        yield torch.linalg.solve(gram + size * torch.eye(size), drawn(2, size, 3))
    values = drawn(1037)
    anywhere: tuple[Callable[[Tensor], Tensor], ...] = (
        torch.exp,
        torch.expm1,
        torch.tanh,
        torch.sigmoid,
        torch.erf,
        torch.sin,
        torch.cos,
        functional.gelu,
    )
    positive: tuple[Callable[[Tensor], Tensor], ...] = (
        torch.log,
        torch.log2,
        torch.log1p,
        torch.rsqrt,
        torch.reciprocal,
        square_root,
    )
    for function in anywhere:
        yield function(values)
        yield function(values.double())
    for function in positive:
        yield function(values.abs() + 1e-3)
        yield function(values.double().abs() + 1e-3)
    table = drawn(61, 113)
    yield table.softmax(-1)
    yield table.logsumexp(-1)
    yield functional.cross_entropy(table, torch.arange(61), reduction="none")
    yield functional.layer_norm(table, (113,))
    yield torch.stack([table.sum(), table.double().sum(), table.mean(), table.norm(), table.std()])
    yield table.cumsum(-1)
    yield functional.conv2d(drawn(3, 2, 9, 9), drawn(5, 2, 3, 3))
    yield values * torch.finfo(torch.float32).tiny  # numbers too small for their type: kept, or flushed to zero
