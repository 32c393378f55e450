"""Inputs of steps, sent ahead."""

from __future__ import annotations

import torch

from trainables.lanes.step_inputs import StepInputs, held_steps
from trainables.schedule import BLOCK_STEPS


def test_each_step_reads_what_was_sent_for_it_from_where_it_always_was() -> None:
    ahead = StepInputs(2, 3, 5, torch.device("cpu"))
    stream = torch.Generator().manual_seed(0)
    addresses = set()
    for steps in (4, 7):
        batches = torch.randint(100, (steps, 2, 3), generator=stream)
        noise = torch.randn(steps, 2, 5, generator=stream)
        ahead.send(batches, noise, [10, 200])
        for step in range(steps):
            assert torch.equal(ahead.batch, batches[step])
            assert torch.equal(ahead.noise, noise[step])
            assert ahead.updates.tolist() == [11 + step, 201 + step]
            addresses |= {ahead.updates.data_ptr()}
            ahead.next_step()
    assert len(addresses) == 1


def test_large_noise_is_held_for_few_steps() -> None:
    assert held_steps(0) == held_steps(1000) == BLOCK_STEPS
    assert held_steps(2**26) == 1
    assert held_steps(2**22) == 16
    assert held_steps(2**40) == 1
