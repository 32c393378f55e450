from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from trainables.complexity.certify import Coded, certify
from trainables.complexity.losses import base_losses, training_objective
from trainables.complexity.stream import encode_lossless

WEIGHTS = {"w": torch.tensor([1.0, 2.0, 3.0])}
OBJECTIVE = training_objective(WEIGHTS, lambda net: (net["w"] - WEIGHTS["w"]).square(), None, None)
LANES = {"w": WEIGHTS["w"][None]}


def moved(by: float) -> Coded:
    return encode_lossless({"w": WEIGHTS["w"] + by})


def test_the_first_stream_that_keeps_the_bound_when_decoded_is_taken_and_no_more_are_coded() -> None:
    drawn: list[float] = []

    def streams() -> Iterator[Coded]:
        for by in (2.0, 1.0, 0.1, 0.0):
            drawn.append(by)
            yield moved(by)

    (certified,) = certify(OBJECTIVE, LANES, base_losses(OBJECTIVE, LANES), [streams()], 0.5)
    assert drawn == [2.0, 1.0, 0.1]
    assert certified.tried == 3
    assert certified.bitstream == moved(0.1)[0]
    assert torch.equal(certified.decoded["w"], WEIGHTS["w"] + 0.1)
    assert 0 < certified.loss_increase <= 0.5


def test_the_last_stream_is_taken_in_any_case() -> None:
    (certified,) = certify(OBJECTIVE, LANES, base_losses(OBJECTIVE, LANES), [[moved(2.0), moved(1.0)]], 0.5)
    assert (certified.tried, certified.bitstream) == (2, moved(1.0)[0])
    assert certified.loss_increase > 0.5


class OfLanes:
    """The loss of two lanes, each on its own."""

    looks = 1

    def losses(self, parameters: dict[str, Tensor], _examples: int | None = None) -> Tensor:
        return (parameters["w"] - WEIGHTS["w"]).square()


def test_each_lane_moves_on_by_itself() -> None:
    both = {"w": WEIGHTS["w"].expand(2, 3)}
    streams = [[moved(1.0), moved(0.0)], [moved(0.1), moved(0.0)]]
    one, other = certify(OfLanes(), both, torch.zeros(2).double(), streams, 0.5)  # type: ignore[arg-type]
    assert (one.tried, one.bitstream) == (2, moved(0.0)[0])
    assert (other.tried, other.bitstream) == (1, moved(0.1)[0])
