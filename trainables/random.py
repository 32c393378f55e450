"""Random streams: each one derives from (seed, purpose, counters) and from nothing else.

No stream has a state that must be saved: the permutation of epoch e and the weight noise of step t are functions
of the seed and of e or t. So trials of one seed are paired across settings, and a checkpoint needs only the step.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, purpose: str, *counters: int | str) -> int:
    """Return the seed of the stream for a purpose: a non-negative 63-bit integer, a hash of the arguments.

    Args:
        seed: the trial's seed.
        purpose: what the stream is for, e.g. `split`, `initialisation`, `batches`, `noise`.
        counters: which of the purpose's streams, e.g. the epoch or the step.
    """
    text = "/".join([str(seed), purpose, *map(str, counters)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, purpose: str, *counters: int | str) -> torch.Generator:
    """Return a fresh CPU generator at the start of the stream that `stream_seed` names."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *counters))
