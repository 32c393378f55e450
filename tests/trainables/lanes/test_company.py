"""The probe finds computations whose bits depend on company, and none where there are none."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.numerics.processes import output_of
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import LaneRun, company, train
from trainables.lanes.company import DependsOnCompany, advice, dependent_computations
from trainables.lanes.shape import Shape

TASK = TaskConfig(family="addition", modulus=11)
MLP = ModelConfig(kind="mlp", width=8, layers=1)
MODELS = {
    "mlp": MLP,
    "transformer": ModelConfig(kind="transformer", width=16, layers=2),
    "by hand": ModelConfig(kind="transformer", width=128),
}
CPU = torch.device("cpu")


def found(model: ModelConfig = MLP, floor: float | None = None, batch_size: int = 64) -> tuple[str, ...]:
    """What the probe finds, asked anew."""
    company._probe.cache_clear()
    penalty = {} if floor is None else {"spectral_entropy_weight": 0.1, "spectral_floor": floor}
    trial = TrialConfig(task=TASK, model=model, data_fraction=0.9, batch_size=batch_size, **penalty)
    return dependent_computations(Shape.of(trial, CPU), penalised=floor is not None)


@pytest.mark.parametrize("floor", [None, 0.0, 0.01])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_depends_on_company_once_the_product_has_chosen_kernels(name: str, floor: float | None) -> None:
    assert found(MODELS[name], floor) == ()


def _rounding_by_company(compute: Any) -> Any:
    def computed(*arguments: Any) -> Any:
        result = compute(*arguments)
        if isinstance(result, tuple):
            return result[0] * (1 + 2.0**-20 * len(result[0])), *result[1:]
        return result * (1 + 2.0**-20 * len(result))

    return computed


def test_a_product_that_depends_on_company_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "loss_gradient", _rounding_by_company(company.loss_gradient))
    assert found() == ("step",)


def test_an_evaluation_that_depends_on_company_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "table_outcomes", _rounding_by_company(company.table_outcomes))
    assert found() == ("evaluation",)


def test_a_penalty_that_depends_on_company_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(gradient: dict[str, Tensor], parameters: dict[str, Tensor], *_: Any) -> None:
        for name, part in gradient.items():
            part += parameters[name] / len(part)

    monkeypatch.setattr(company, "add_penalty_gradient", add)
    assert found(floor=0.0) == ("penalty",)
    assert found(floor=None) == ()


def test_a_kernel_that_depends_on_the_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient_of = company.loss_gradient
    calls = iter(range(1000))
    monkeypatch.setattr(company, "loss_gradient", lambda *a: gradient_of(*a) * (1 + 2.0**-20 * next(calls)))
    assert found(MODELS["by hand"]) == ("step",)


def test_training_warns_once_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "loss_gradient", _rounding_by_company(company.loss_gradient))
    monkeypatch.setattr("trainables.lanes.run.dependent_computations", lambda *a, **k: found())
    trials = [TrialConfig(task=TASK, model=MLP, steps=64, weight_decay=decay) for decay in (0.0, 1.0)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert len(list(train(trials))) > 2
    [warning] = [entry for entry in caught if issubclass(entry.category, DependsOnCompany)]
    assert "a trial's bits depend on the trials it shares a process with (step)" in str(warning.message)


def test_advice_fits_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert advice((), CPU) is None
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert "set MKL_CBWR=AUTO before Python starts" in (advice(("step",), CPU) or "")
    assert "torch's kernels on cuda" in (advice(("step",), torch.device("cuda")) or "")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert "this build of torch, without MKL," in (advice(("step",), CPU) or "")


def test_a_probe_is_done_once_for_runs_of_one_shape() -> None:
    trial = TrialConfig(task=TASK, model=MLP, steps=64)
    company._probe.cache_clear()
    assert [LaneRun([trial]).dependent_computations for _ in range(3)] == [()] * 3
    assert company._probe.cache_info().misses == 1


def test_where_torch_has_computed_before_the_verdict_is_what_really_happens() -> None:
    """On AMD processors rows then depend on company; on Intel's they do not, and the probe must not say so."""
    code = """
    import os, torch, warnings
    torch.set_num_threads(1)
    torch.randn(300, 64) @ torch.randn(64, 300)
    from trainables import DependsOnCompany, ModelConfig, TaskConfig, TrialConfig, train
    warnings.simplefilter("ignore", DependsOnCompany)
    from trainables.lanes import LaneRun
    same = dict(task=TaskConfig(family="addition", modulus=7), steps=64, batch_size=8,
                model=ModelConfig(kind="mlp", width=8, layers=1), spectral_entropy_weight=0.1)
    trials = [TrialConfig(weight_decay=w, data_fraction=f, **same) for w in (0.0, 1.0) for f in (0.4, 0.7)]
    values = lambda rows: sorted((m.trial_id, m.step, m.train_loss, m.val_loss, m.l2_norm) for m in rows)
    alone = values([m for trial in trials for m in train([trial])])
    together = values(train(trials, lanes=4))
    print(alone != together, bool(LaneRun(trials, lanes=4).dependent_computations))
    """
    depend, verdict = output_of(code).split()
    assert verdict == depend
