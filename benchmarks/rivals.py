"""Other methods that shrink a network at the same distortion bound: compressors, the paper's scheme, NNCodec.

Each rival rounds, decodes, and is asked whether the loss keeps the bound; bisection finds the coarsest rounding
that does. None is told anything of the loss beyond that. Their lengths leave names, shapes and dtypes out where the
format allows it.
"""

from __future__ import annotations

import bz2
import lzma
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from torch import Tensor

Fits = Callable[[Mapping[str, Tensor]], bool]
Arrays = dict[str, Any]

#: Steps are 2^(k / 4); these are the coarsest and the finest that are tried.
_COARSEST, _FINEST = 24, -64

#: Shares of the nuclear norm at which the paper's scheme may cut; its public code searches them continuously.
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


@dataclass(frozen=True, slots=True)
class RivalRow:
    """One rival on one network at one epsilon."""

    rival: str
    rival_bytes: int
    cpu_s: float


def rivals(parameters: Mapping[str, Tensor], fits: Fits) -> list[RivalRow]:
    """List all rivals that are installed."""
    collected = []
    for names, compress in (
        (("rounding + zstd-19", "rounding + bzip2", "rounding + LZMA"), _rounding),
        (("paper's scheme",), _papers_scheme),
        (("NNCodec",), _nncodec),
    ):
        started = time.process_time()
        sizes = compress({name: weight.double().numpy() for name, weight in parameters.items()}, fits)
        if sizes is not None:
            spent = time.process_time() - started
            collected += [RivalRow(name, size, spent) for name, size in zip(names, sizes, strict=True)]
    return collected


def coarsest(feasible: Callable[[int], bool], low: int, high: int) -> int | None:
    """Find the largest feasible integer of a range, if all below one are; None if the smallest is not."""
    if not feasible(low):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if feasible(middle) else (low, middle)
    return low


def tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(array, dtype=np.float32)) for name, array in arrays.items()}


def packed(integers: list[Any]) -> bytes:
    """Write a byte each, or four if one of an array is large."""
    return b"".join(
        values.astype(np.int8 if np.abs(values).max(initial=0) < 128 else "<i4").tobytes() for values in integers
    )


def _rounded(arrays: Arrays, step: float) -> Arrays:
    return {name: np.rint(array / step) for name, array in arrays.items()}


def _rounding(arrays: Arrays, fits: Fits) -> tuple[int, int, int]:
    """Round with one step for the whole network."""

    def feasible(k: int) -> bool:
        step = 2.0 ** (k / 4)
        return fits(tensors({name: values * step for name, values in _rounded(arrays, step).items()}))

    k = coarsest(feasible, _FINEST, _COARSEST)
    assert k is not None, "float32 holds no finer rounding than the finest looked at"
    rounded = _rounded(arrays, 2.0 ** (k / 4))
    plain = packed([rounded[name] for name in sorted(rounded)])
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]
    return (
        len(zstandard.ZstdCompressor(level=19).compress(plain)),
        len(bz2.compress(plain)),
        len(lzma.compress(plain, lzma.FORMAT_RAW, filters=filters)),
    )


def _papers_scheme(arrays: Arrays, fits: Fits) -> tuple[int]:
    """Apply arXiv 2412.09810: cut matrices at a share of their nuclear norm, one step for everything, bzip2.

    A matrix is kept as two factors where that is smaller. The authors' search is Bayesian optimisation over
    (step, share); here it is bisection on the step for each of several shares, and integers take the bytes that
    they need.
    """
    decomposed = {
        name: np.linalg.svd(array.reshape(array.shape[0], -1), full_matrices=False)
        for name, array in arrays.items()
        if array.ndim >= 2
    }
    smallest = math.inf
    for share in SHARES:
        pieces: Arrays = {}
        for name, array in arrays.items():
            pieces[name] = (array,)
            if name in decomposed:
                left, values, right = decomposed[name]
                rank = int(np.searchsorted(np.cumsum(values), share * values.sum() * (1 - 1e-12))) + 1
                if rank * (left.shape[0] + right.shape[1]) < array.size:
                    roots = np.sqrt(values[:rank])
                    pieces[name] = (left[:, :rank] * roots, roots[:, None] * right[:rank])

        def rebuilt(k: int, pieces: Arrays = pieces) -> tuple[Arrays, list[Any]]:
            step = 2.0 ** (k / 4)
            whole, integers = {}, []
            for name in sorted(pieces):
                rounded = [np.rint(piece / step) for piece in pieces[name]]
                integers += rounded
                product = rounded[0] * step if len(rounded) == 1 else (rounded[0] @ rounded[1]) * step**2
                whole[name] = product.reshape(arrays[name].shape)
            return whole, integers

        k = coarsest(lambda k: fits(tensors(rebuilt(k)[0])), _FINEST, _COARSEST)
        if k is not None:
            smallest = min(smallest, len(bz2.compress(packed(rebuilt(k)[1]))))
    return (int(smallest),)


def _nncodec(arrays: Arrays, fits: Fits) -> tuple[int] | None:
    """Apply ISO/IEC 15938-17 by its reference implementation: dependent (trellis-coded) quantisation and DeepCABAC.

    Its lengths include names and shapes.
    """
    try:
        from nncodec import nnc
    except ImportError:
        return None
    plain = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    with tempfile.TemporaryDirectory() as folder:

        def stream(qp: int) -> Any:
            return nnc.compress(
                dict(plain),
                bitstream_path=str(Path(folder) / "network.nnc"),
                qp=qp,
                use_dq=True,
                param_opt=True,
                row_skipping=True,
                return_bitstream=True,
            )

        def feasible(qp: int) -> bool:
            decoded = nnc.decompress(stream(qp))
            return fits(
                tensors({name: np.asarray(decoded[name]).reshape(array.shape) for name, array in plain.items()})
            )

        qp = coarsest(feasible, -80, 8)
        return None if qp is None else (len(stream(qp)),)
