"""Tell the libraries below torch which kernels to take, through the environment and before their first call.

By default MKL chooses kernels by batch size and memory alignment. On AMD processors these kernels round
differently, so that a trial's rows would depend on which others it trains with. MKL's conditional numerical
reproducibility, switched on by `MKL_CBWR`, fixes the choice for a processor; products take no longer
(docs/reproducibility.md).
"""

from __future__ import annotations

import os
from typing import Literal

Reproducible = Literal["here", "across machines"]
"""What a run promises: `here`, the same bits in any company on one kind of processor; `across machines`, the same
bits on every x86-64 processor with AVX2."""

HERE: Reproducible = "here"
ACROSS_MACHINES: Reproducible = "across machines"

NOT_REPRODUCIBLE: Literal["no"] = "no"
"""What the table `trials` says where neither promise holds."""

Verdict = Literal["no", "here", "across machines"]
"""What held for the bits of a trial."""

VERDICTS: tuple[Verdict, ...] = (NOT_REPRODUCIBLE, HERE, ACROSS_MACHINES)
"""The weakest first."""


def weakest(*verdicts: Verdict) -> Verdict:
    """Return what holds for bits of which parts were computed under each of these verdicts."""
    return min(verdicts, key=VERDICTS.index)


SETTINGS_HERE = {"MKL_CBWR": "AUTO"}

SETTINGS_ACROSS_MACHINES = {
    # The only branch of MKL that is the same code on processors of Intel and AMD: it takes AVX2 for Intel's only.
    "MKL_CBWR": "COMPATIBLE",
    # ATen and oneDNN would take AVX-512 where there is some, and add in another order.
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def choose_kernels() -> None:
    """Set `SETTINGS_HERE` where the user has set nothing; effective until MKL is called for the first time."""
    for name, value in SETTINGS_HERE.items():
        if not os.environ.get(name):  # MKL takes an empty value for none
            os.environ[name] = value
