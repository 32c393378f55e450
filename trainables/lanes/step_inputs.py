"""The inputs of the next steps, decided on the host and sent to the device before the first of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.schedule import BLOCK_STEPS

_NOISE_BYTES = 256 * 2**20
"""Bound on the noise that is held at once; that of a single step may be more."""


class StepInputs:
    """Holds batches, noise and the number of the step in tensors that never move, see `trainables.lanes.graphs`.

    Args:
        lanes: L.
        batch_size: B.
        noise_weights: p where there is noise on the weights, else 0.
        device: where the lanes train.
    """

    def __init__(self, lanes: int, batch_size: int, noise_weights: int, device: torch.device) -> None:
        self.steps = held_steps(lanes * noise_weights)
        """Steps that can be sent at once."""
        # On the device, because a captured step would keep a number of the host as it was at the capture.
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        self._batches = torch.zeros(self.steps, lanes, batch_size, dtype=torch.int64, device=device)
        self._noise = torch.zeros(self.steps, lanes, noise_weights, device=device)
        self.updates = torch.zeros(lanes, device=device)
        """[L] float32: updates done, that of the present step included."""

    def send(self, batches: Tensor, noise: Tensor | None, ages: Sequence[int]) -> None:
        """Send the inputs of the next S steps to the device, without waiting for it.

        Args:
            batches: [S, L, B] indices into the task's table.
            noise: [S, L, P], if there is any.
            ages: updates done, per lane.
        """
        self._at.zero_()
        # AdamW counts updates from 1: its bias correction divides by 1 - beta^t.
        _send(torch.tensor(ages, dtype=torch.float32) + 1, self.updates)
        _send(batches, self._batches[: len(batches)])
        if noise is not None:
            _send(noise, self._noise[: len(noise)])

    @property
    def batch(self) -> Tensor:
        """Batches of the present step, [L, B]."""
        return self._batches.index_select(0, self._at)[0]

    @property
    def noise(self) -> Tensor:
        """Noise of the present step, a copy [L, P]."""
        return self._noise.index_select(0, self._at)[0]

    def next_step(self) -> None:
        """Move to the next step."""
        self._at += 1
        self.updates += 1


def held_steps(noise_elements: int) -> int:
    """Return the number of steps whose inputs are held at once, given the elements of one step's noise."""
    return max(1, min(BLOCK_STEPS, _NOISE_BYTES // (4 * max(noise_elements, 1))))


def _send(host: Tensor, device: Tensor) -> None:
    """Copy a tensor into one on the device, without making the host wait."""
    # Only a copy out of pinned memory does not block; torch's allocator keeps that memory until the copy is done.
    device.copy_(host.pin_memory() if device.is_cuda else host, non_blocking=True)
