"""A coverage-guided fuzzer for everything that reads hostile bytes: streams and self-contained files.

    pip install atheris
    mkdir -p corpus && python -m tests.fuzz.decoder corpus -max_total_time=600 -rss_limit_mb=2048 -timeout=20

Run it from the repository's root. It stops at the first input that makes a reader do anything but decode or raise
`BitstreamError`, and writes that input to a file: fix the reader, and add the input to the tests. Real streams are
put into the corpus first, so that mutation starts from bytes that decode.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import atheris
import torch

with atheris.instrument_imports(include=["trainables.complexity"]):
    from tests.trainables.complexity.hostile import LIKES, decode_or_refuse, rotated_stream
    from trainables.complexity import measure


def seeds() -> list[bytes]:
    """Real streams of random networks at several distortions, behind the doors that let them in."""
    collected = [bytes([4 * len(LIKES)]) + b'{"tensors":[["w",[3,4],"float32"]],"about":{}}\0' + bytes(9)]
    for index, like in enumerate(LIKES):
        generator = torch.Generator().manual_seed(index)
        network = {
            name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)
            for name, tensor in like.items()
        }

        def loss(tensors: dict[str, torch.Tensor], network: dict[str, torch.Tensor] = network) -> torch.Tensor:
            return torch.stack([(tensors[name] - network[name]).double().square().mean() for name in network])

        for result in measure(network, loss, [0.5, 0.1, 0.01, 1e-4, 1e-9]):  # type: ignore[arg-type]
            collected.append(bytes([index]) + result.bitstream)
            collected += [bytes([index + len(LIKES) * door]) + result.bitstream[:-4] for door in (1, 3)]
    collected += [bytes([len(LIKES) - 1 + len(LIKES) * door]) + rotated_stream()[:-4] for door in (1, 3)]
    return collected


def main() -> None:
    # What overflows silently on one machine may not on another.
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    for number, seed in enumerate(seeds() if folders else []):
        (folders[0] / f"seed-{number:03d}").write_bytes(seed)
    atheris.Setup(sys.argv, decode_or_refuse_silently)
    atheris.Fuzz()


def decode_or_refuse_silently(data: bytes) -> None:
    """Atheris wants a function that returns nothing."""
    decode_or_refuse(data)


if __name__ == "__main__":
    main()
