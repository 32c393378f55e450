"""Hostile bytes: only `BitstreamError`, little memory, little time."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.complexity.hostile import LIKES, decode_or_refuse, rotated_stream
from trainables.complexity import measure

DOORS = range(5 * len(LIKES))
SEALED = range(len(LIKES), 2 * len(LIKES))


@cache
def good(index: int) -> bytes:
    """A real stream for one of the networks, without its checksum; the last one has rotations."""
    if index == len(LIKES) - 1:
        return rotated_stream()[:-4]
    generator = torch.Generator().manual_seed(index)
    network = {
        name: torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)
        for name, like in LIKES[index].items()
    }

    def loss(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([(tensors[name] - network[name]).double().square().mean() for name in network])

    (result,) = measure(network, loss, [0.01])  # type: ignore[arg-type]
    return result.bitstream[:-4]


@given(st.sampled_from(DOORS), st.binary(max_size=400))
@settings(max_examples=400)
@pytest.mark.filterwarnings("error")
def test_random_bytes(door: int, noise: bytes) -> None:
    decode_or_refuse(bytes([door]) + noise)


@given(st.sampled_from(SEALED), st.data())
@settings(max_examples=400)
@pytest.mark.filterwarnings("error")
def test_altered_streams_whose_checksum_is_right(door: int, data: st.DataObject) -> None:
    stream = bytearray(good(door % len(LIKES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1) | st.integers(0, min(12, len(stream) - 1)))
        kind = data.draw(st.sampled_from(["change", "cut", "double", "fill"]))
        if kind == "change":
            stream[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del stream[at : at + data.draw(st.integers(1, 9))]
        elif kind == "double":
            stream[at:at] = stream[at:]
        else:
            stream[at:] = bytes([data.draw(st.sampled_from([0, 1, 127, 128, 255]))]) * len(stream[at:])
        if not stream:
            break
    decode_or_refuse(bytes([door]) + bytes(stream))


@pytest.mark.parametrize("index", range(len(LIKES)))
def test_real_streams_are_let_in_by_the_same_door(index: int) -> None:
    assert decode_or_refuse(bytes([SEALED[index]]) + good(index))


UNDER_LIMITS = """
import random, resource, torch
from tests.trainables.complexity.hostile import sealed
from trainables.complexity import decode
from trainables.errors import BitstreamError

torch.set_num_threads(1)
like = {"embedding": torch.zeros(1).expand(1000, 600), "bias": torch.zeros(1).expand(100_000)}
generator = random.Random(0)

def attempt(body):
    try:
        decode(sealed(body, like), like)
    except BitstreamError:
        pass

attempt(bytes([1]))
# The weights are 3 MB, and 6 MB in float64: some hundred bytes a weight are left for the parser.
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 256 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CPU, (200, 200))
for kind in (1, 2, 3):
    for length in (0, 1, 3, 30, 1000, 20_000, 200_000, 400_000):
        attempt(bytes([kind]) + bytes([255]) * length)
for _ in range(100):
    length = generator.choice((3, 30, 1000, 20_000, 200_000, 400_000))
    attempt(bytes([generator.choice((1, 3))]) + generator.randbytes(length))
print("done")
"""


def test_memory_and_time_are_bounded_by_the_tensors_asked_for() -> None:
    run = subprocess.run([sys.executable, "-c", UNDER_LIMITS], capture_output=True, text=True)
    assert run.stdout == "done\n", run.stderr
