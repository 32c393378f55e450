"""Settings of torch that change bits, as a run needs them and whatever the caller has chosen for other work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

THREADS = 1
"""CPU threads within torch's operations. With more of them sums are split otherwise, and by the number of lanes."""


@contextlib.contextmanager
def settled_torch() -> Iterator[None]:
    """Compute with one thread, float32 by default, gradients, subnormal numbers, and without autocast.

    A caller's `torch.set_num_threads`, `set_default_dtype`, `set_flush_denormal`, `autocast`, `no_grad`,
    `inference_mode` and `set_float32_matmul_precision` have no effect inside, and are as before at the end. It can
    be used as a decorator.
    """
    threads, dtype, flushing = torch.get_num_threads(), torch.get_default_dtype(), _flushes_denormals()
    precision = torch.get_float32_matmul_precision()
    with contextlib.ExitStack() as settled:
        for context in (torch.inference_mode(False), torch.enable_grad()):
            settled.enter_context(context)
        for device in (device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)):
            settled.enter_context(torch.autocast(device, enabled=False))
        try:
            _set(THREADS, torch.float32, "highest", flushing=False)
            yield
        finally:
            _set(threads, dtype, precision, flushing=flushing)


def _set(threads: int, dtype: torch.dtype, precision: str, *, flushing: bool) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if torch.get_default_dtype() != dtype:
        torch.set_default_dtype(dtype)
    if torch.get_float32_matmul_precision() != precision:
        torch.set_float32_matmul_precision(precision)
    if _flushes_denormals() != flushing:
        torch.set_flush_denormal(flushing)


def _flushes_denormals() -> bool:
    """Try whether numbers too small for their type become zero in this thread; torch does not say."""
    return bool(torch.full((1,), 2.0**-126, dtype=torch.float32, device="cpu").mul_(0.5) == 0)
