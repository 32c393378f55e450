"""Streams decode to the certified bits in fresh processes: other instructions, other numbers of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from numpy._core._multiarray_umath import __cpu_dispatch__
from torch import Tensor

from tests.trainables.complexity.small import memorised, per_example_loss, same_bits
from trainables.complexity import measure, pack
from trainables.complexity.stream import EXTENDED
from trainables.networks import load_network
from trainables.networks.measure import measure_network

DATA = Path(__file__).parents[2] / "data"

#: What the numerical libraries use at most. Each library reads its own variables and ignores the others'.
LOWEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": " ".join(__cpu_dispatch__),
}
MIDDLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
BEST: dict[str, str] = {}
"""All that this machine has."""

DECODE = """
import hashlib, sys, torch
from pathlib import Path
from trainables.complexity import decode, unpack

threads = int(sys.argv[1])
torch.set_num_threads(threads)
for path in sorted(Path(sys.argv[2]).iterdir()):
    file = unpack(path.read_bytes())
    like = {name: torch.full(tensor.shape, float("nan"), dtype=tensor.dtype) for name, tensor in file.like.items()}
    content = b"".join(
        name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in decode(file.bitstream, like).items()
    )
    print(path.name, hashlib.sha256(content).hexdigest())
print(torch.backends.cpu.get_cpu_capability(), file=sys.stderr)
"""


def digest(decoded: dict[str, Tensor]) -> str:
    content = b"".join(
        name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in decoded.items()
    )
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder of files, and the digest of each network as it was certified in this process."""
    folder = tmp_path_factory.mktemp("streams")
    digests = {}

    def keep(name: str, bitstream: bytes, decoded: dict[str, Tensor]) -> None:
        (folder / name).write_bytes(pack(bitstream, decoded))
        digests[name] = digest(decoded)

    for budget, epsilons in (("fast", [1.0, 0.125]), ("thorough", [1.0])):
        for entry in measure_network(load_network(DATA / "addition_noise.npz"), epsilons, budget):
            keep(f"the paper's, {budget}, {entry.result.epsilon}", entry.result.bitstream, entry.result.decoded)
    assert entry.result.bitstream[0] == EXTENDED
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        (result,) = measure(memorised(dtype), per_example_loss, [0.25])
        keep(f"small, {dtype}", result.bitstream, result.decoded)
    frozen = memorised()

    def brittle(parameters: Mapping[str, Tensor]) -> Tensor:
        same = all(torch.equal(parameters[name], frozen[name]) for name in frozen)
        return torch.full((4,), 0.0 if same else 50.0)

    (result,) = measure(frozen, brittle, [1.0])
    assert same_bits(result.decoded, frozen)
    keep("lossless", result.bitstream, result.decoded)
    return folder, digests


@pytest.mark.parametrize(
    ("instructions", "threads"),
    [(LOWEST, 1), (LOWEST, 2), (MIDDLE, 2), (BEST, 1), (BEST, 2)],
    ids=["lowest, 1 thread", "lowest, 2 threads", "avx2, 2 threads", "best, 1 thread", "best, 2 threads"],
)
def test_the_certified_bits(
    instructions: dict[str, str], threads: int, certified: tuple[Path, dict[str, str]]
) -> None:
    folder, digests = certified
    plain = {name: value for name, value in os.environ.items() if name not in LOWEST}
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", DECODE, str(threads), folder],
        env=plain | instructions | counts,
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(line.rsplit(" ", 1) for line in run.stdout.splitlines()) == digests
    if instructions is LOWEST:
        assert "DEFAULT" in run.stderr
