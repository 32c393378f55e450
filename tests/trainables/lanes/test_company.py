"""The probe finds computations whose bits depend on company, and none where there are none."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.numerics.processes import output_of
from trainables import register_model, register_task
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import LaneRun, checkpoint, company, train
from trainables.lanes.company import DependsOnCompany, advice, dependent_computations
from trainables.lanes.shape import Shape
from trainables.tasks import Task

TASK = TaskConfig(family="addition", modulus=11)
MLP = ModelConfig(kind="mlp", width=8, layers=1)
MODELS = {
    "mlp": MLP,
    "transformer": ModelConfig(kind="transformer", width=16, layers=2),
    "by hand": ModelConfig(kind="transformer", width=128),
}
CPU = torch.device("cpu")


def dependent(model: ModelConfig = MLP, floor: float | None = None, batch_size: int = 64) -> tuple[str, ...]:
    """What the probe finds, asked anew."""
    company._probe.cache_clear()
    penalty = {} if floor is None else {"spectral_entropy_weight": 0.1, "spectral_floor": floor}
    trial = TrialConfig(task=TASK, model=model, data_fraction=0.9, batch_size=batch_size, **penalty)
    return dependent_computations(Shape.of(trial, CPU), penalised=floor is not None)


@pytest.mark.parametrize("floor", [None, 0.0, 0.01])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_depends_on_company_once_the_product_has_chosen_kernels(name: str, floor: float | None) -> None:
    assert dependent(MODELS[name], floor) == ()


def _rounding_by_company(compute: Any) -> Any:
    def computed(*arguments: Any) -> Any:
        result = compute(*arguments)
        if isinstance(result, tuple):
            return result[0] * (1 + 2.0**-20 * len(result[0])), *result[1:]
        return result * (1 + 2.0**-20 * len(result))

    return computed


def test_a_product_that_depends_on_company_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "loss_gradient", _rounding_by_company(company.loss_gradient))
    assert dependent() == ("step",)


def test_an_evaluation_that_depends_on_company_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "table_outcomes", _rounding_by_company(company.table_outcomes))
    assert dependent() == ("evaluation",)


def test_a_penalty_that_depends_on_company_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(gradient: dict[str, Tensor], parameters: dict[str, Tensor], *_: Any) -> None:
        for name, part in gradient.items():
            part += parameters[name] / len(part)

    monkeypatch.setattr(company, "add_penalty_gradient", add)
    assert dependent(floor=0.0) == ("penalty",)
    assert dependent(floor=None) == ()


def test_a_kernel_that_depends_on_the_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient_of = company.loss_gradient
    calls = iter(range(1000))
    monkeypatch.setattr(company, "loss_gradient", lambda *a: gradient_of(*a) * (1 + 2.0**-20 * next(calls)))
    assert dependent(MODELS["by hand"]) == ("step",)


def test_training_warns_once_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "loss_gradient", _rounding_by_company(company.loss_gradient))
    monkeypatch.setattr("trainables.lanes.run.dependent_computations", lambda *a, **k: dependent())
    monkeypatch.setattr(company, "_warned", set())
    trials = [TrialConfig(task=TASK, model=MLP, steps=64, weight_decay=decay) for decay in (0.0, 1.0)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(train(trials))) > 2
    [warning] = [entry for entry in caught if issubclass(entry.category, DependsOnCompany)]
    assert "a trial's bits depend on the trials it shares a process with (step)" in str(warning.message)


def test_advice_fits_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert advice((), CPU) is None
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    assert "set MKL_CBWR=AUTO before Python starts" in (advice(("step",), CPU) or "")
    monkeypatch.setenv("MKL_CBWR", "OFF")
    assert "with MKL_CBWR=OFF. Set MKL_CBWR=AUTO before Python starts" in (advice(("step",), CPU) or "")
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


# --- networks of the user's own ---------------------------------------------------------------------------------

RANDOM = torch.Generator().manual_seed(0)
IMAGES = Task.of(torch.randn(120, 2, 10, 10, generator=RANDOM), torch.randint(0, 5, (120,), generator=RANDOM))

FEATURES = Task.of(torch.randn(75, 5, generator=RANDOM), torch.randint(0, 3, (75,), generator=RANDOM))


@pytest.fixture(scope="module", autouse=True)
def _own_networks() -> None:
    register_task("company-images")(lambda _: IMAGES)
    register_task("company-features")(lambda _: FEATURES)
    register_model("company-convolutions")(
        lambda _task, _model: nn.Sequential(
            nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 5)
        )
    )
    register_model("company-layers")(
        lambda _task, _model: nn.Sequential(nn.Flatten(), nn.Linear(200, 16), nn.ReLU(), nn.Linear(16, 5))
    )

    register_model("company-sigmoid")(
        lambda _task, _model: nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 3))
    )


def own(kind: str, **values: Any) -> TrialConfig:
    same: dict[str, Any] = {"task": TaskConfig(family="company-images"), "model": ModelConfig(kind=kind)}
    return TrialConfig(**same, data_fraction=0.5, batch_size=16, **values)


def test_convolutions_have_the_same_rows_alone_and_among_five(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched, their kernel is chosen by the number of lanes, and differs from four lanes on."""
    monkeypatch.setattr("trainables.scoring.complexities", lambda *_a, **_k: ())
    trials = [own("company-convolutions", steps=4, weight_decay=decay / 10) for decay in range(5)]

    def rows(run: LaneRun) -> list[Any]:
        return [(m.trial_id, m.step, m.train_loss, m.val_loss, m.l2_norm) for m in run.advance(1)]

    together, alone = LaneRun(trials, lanes=5), LaneRun(trials[:1], lanes=1)
    assert rows(alone) == [row for row in rows(together) if row[0] == trials[0].trial_id]
    assert together.verdict(trials[0].trial_id) == "here"


def test_elements_left_over_by_vector_loops_are_the_same_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in fifty rounds otherwise: the probe's few weights may not show it, and training is sure to meet it."""
    monkeypatch.setattr("trainables.scoring.complexities", lambda *_a, **_k: ())
    trials = [
        TrialConfig(
            task=TaskConfig(family="company-features"),
            model=ModelConfig(kind="company-sigmoid"),
            data_fraction=0.5,
            batch_size=9,
            steps=64,
            weight_decay=decay / 10,
        )
        for decay in range(5)
    ]

    def rows(some: list[TrialConfig]) -> list[Any]:
        return sorted((m.trial_id, m.step, m.train_loss, m.l2_norm) for m in LaneRun(some, lanes=5).advance(2))

    assert rows(trials) == sorted(row for trial in trials for row in rows([trial]))


def test_only_networks_that_depend_on_company_are_trained_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Shape.of(own("company-layers"), CPU)
    assert company.independent_of_company(layers, penalised=True) == layers
    monkeypatch.setattr(company, "loss_gradient", _rounding_by_company(company.loss_gradient))
    company._probe.cache_clear()
    one_by_one = company.independent_of_company(layers, penalised=False)
    assert one_by_one.one_by_one
    assert dependent_computations(one_by_one, penalised=False) == ()
    built_in = Shape.of(TrialConfig(task=TASK, model=MLP), CPU)
    assert company.independent_of_company(built_in, penalised=False) == built_in
    company._probe.cache_clear()


def test_a_run_with_more_lanes_than_are_compared_anyway_is_probed_at_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gradient_of = company.loss_gradient
    monkeypatch.setattr(company, "loss_gradient", lambda *a: gradient_of(*a) + (len(a[2]) >= 12))
    company._probe.cache_clear()
    shape = Shape.of(TrialConfig(task=TASK, model=MLP), CPU)
    assert dependent_computations(shape, penalised=False, lanes=8) == ()
    assert dependent_computations(shape, penalised=False, lanes=12) == ("step",)
    company._probe.cache_clear()


# --- what a trial's row says ------------------------------------------------------------------------------------


def test_a_trial_gets_the_weakest_verdict_of_its_attempts() -> None:
    trial = TrialConfig(task=TASK, model=MLP, steps=64)
    run = LaneRun([trial])
    run.advance(1)
    record = checkpoint.decode(run.save())
    assert (record.verdicts, run.verdict(trial.trial_id)) == ({trial.trial_id: "here"}, "here")

    def after(**changes: Any) -> str:
        saved = checkpoint.encode(dataclasses.replace(record, **changes))
        return LaneRun.restore(LaneRun.restore(saved, [trial]).save(), [trial]).verdict(trial.trial_id)

    assert after() == "here"
    assert after(verdicts={trial.trial_id: "no"}) == "no"
    assert after(kernels="those of another processor") == "no"
    assert after(verdicts={}, kernels=None) == "no"  # as earlier versions wrote it: nothing is known
    assert after(verdicts={}) == "no"


def test_operations_of_an_own_network_are_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.lanes.run.reproducible_here", lambda: "across machines")
    layers, built_in = own("company-layers"), TrialConfig(task=TASK, model=MLP)
    assert LaneRun([layers]).verdict(layers.trial_id) == "here"
    assert LaneRun([built_in]).verdict(built_in.trial_id) == "across machines"


def test_threads_that_a_network_sets_are_seen() -> None:
    trial = TrialConfig(task=TASK, model=MLP, steps=1)
    run = LaneRun([trial], watch=lambda _: torch.set_num_threads(2))
    run.advance(1)
    assert (run.threads, run.verdict(trial.trial_id)) == (2, "no")
    assert torch.get_num_threads() == 1
