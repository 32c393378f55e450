"""Fresh Python processes: libraries choose their kernels once in each."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap

import pytest
import torch

from trainables.numerics.reference import REFERENCE_DIGESTS

SETTINGS = ("MKL_CBWR", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")


def output_of(code: str, **environment: str) -> str:
    """What a new process prints whose environment sets none of `SETTINGS` but those given."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


_KNOWN = torch.__version__.startswith(tuple(REFERENCE_DIGESTS)) and platform.machine() == "x86_64"
needs_known_bits = pytest.mark.skipif(
    not (_KNOWN and torch.backends.cpu.get_cpu_capability() != "DEFAULT"),
    reason="bits are known for x86-64 with AVX2 and torch 2.13 only",
)
