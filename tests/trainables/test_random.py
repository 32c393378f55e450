"""Streams depend on seed, purpose and counters, and on nothing else."""

import torch

from trainables.random import generator, stream_seed


def test_streams_differ_by_each_argument() -> None:
    seeds = {
        stream_seed(*key)
        for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (0, "a", 1, 2), (1, "a", 1)]
    }
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_is_the_same_on_every_machine() -> None:
    assert stream_seed(0, "split") == 374788079615300020


def test_a_generator_starts_afresh() -> None:
    first, second = (torch.randn(5, generator=generator(3, "noise", 7)) for _ in range(2))
    assert torch.equal(first, second)
