"""Bits known beforehand: recorded on an AMD EPYC, and the same on emulated processors of Intel."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.numerics.processes import needs_known_bits, output_of
from trainables.errors import ConfigError
from trainables.numerics import reference
from trainables.numerics.reference import reproducible_here, require_across_machines

ROWS = """
import hashlib, torch
from trainables import ModelConfig, TaskConfig, TrialConfig, require_across_machines, train
from trainables.numerics.reference import reproducible_here
torch.set_num_threads(1)
require_across_machines()
assert reproducible_here() == "across machines"
mlp = dict(task=TaskConfig(modulus=7), model=ModelConfig(kind="mlp", width=8, layers=1), batch_size=8)
transformer = dict(task=TaskConfig(modulus=11), model=ModelConfig(width=32))
penalty = dict(steps=32, spectral_entropy_weight=0.1, **transformer)
for more in (dict(steps=64, **mlp), dict(steps=64, **transformer), penalty):
    trial = TrialConfig(**more)
    company = [TrialConfig(weight_decay=decay, **more) for decay in (0.5, 2.0)]
    rows = [
        (row.step, row.train_loss, row.val_loss, row.l2_norm, row.spectral_entropy, row.complexity_bytes)
        for row in train([company[0], trial, company[1]], lanes=3)
        if row.trial_id == trial.trial_id
    ]
    print(trial.trial_id, hashlib.sha256(repr(rows).encode()).hexdigest()[:16])
"""

GOLDEN = """\
8efd65bc62c69f16 22ef08a7ccadef5d
33470c5d0710c8c7 89546213205b6b15
795f056099a2bda3 69cacd89aa6d7b13"""
"""Ids of three trials and digests of their rows: an MLP, a transformer, one with the spectral penalty."""


@needs_known_bits
def test_published_trials_have_the_same_rows_on_every_processor() -> None:
    assert output_of(ROWS) == GOLDEN


@needs_known_bits
def test_the_reference_is_computed_alike_with_more_threads() -> None:
    code = """
    import torch
    from trainables import require_across_machines
    torch.set_num_threads(2)
    require_across_machines()
    print(torch.get_num_threads())
    """
    assert output_of(code) == "2"


def test_a_process_that_computes_other_bits_is_refused_and_left_as_it_was() -> None:
    code = """
    import os, torch
    torch.randn(300, 64) @ torch.randn(64, 300)
    import trainables
    before = dict(os.environ)
    try:
        trainables.require_across_machines()
    except trainables.ConfigError as error:
        print(error)
    from trainables.numerics import reference, roots
    assert dict(os.environ) == before and not roots._correctly_rounded
    assert reference.reproducible_here() == "here"
    """
    refused = output_of(code)
    assert refused.startswith("reproducible: across machines needs an x86-64 processor with AVX2")
    assert "start Python with MKL_CBWR=COMPATIBLE ATEN_CPU_CAPABILITY=avx2" in refused


def test_a_torch_whose_bits_are_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "REFERENCE_DIGESTS", {"1.0": "0" * 16})
    with pytest.raises(ConfigError, match=r"a version of torch whose bits are known \(1\.0\), got 2"):
        require_across_machines()
    assert reproducible_here() == "here"


def test_one_operation_that_rounds_otherwise_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference.reference_digest()
    assert reference.reference_digest() == before
    exact = torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda matrix: exact(matrix) * (1 + 2.0**-52))
    assert reference.reference_digest() != before
