"""Bounds of whole tables, against the formulas one row at a time and against a network that was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import analysis
from analysis import AnalysisError, bounds
from analysis.schema import BOUNDS, COMPLEXITY
from tests.analysis.folder import end, measured
from tests.analysis.made_up import grid, usual_fate, write_sweep
from trainables import train
from trainables.architectures import architecture_of
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.scoring import table_outcomes
from trainables.tasks import build_task, split

TRIAL = TrialConfig(task=TaskConfig(modulus=113), model=ModelConfig(hidden_width=512))


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def of_paper(trial: TrialConfig = TRIAL, **values: object) -> pd.DataFrame:
    """The row of an ended trial with 3,831 of 113^2 pairs trained on."""
    facts = {"training_examples": 3_831, "validation_examples": 113**2 - 3_831, "classes": 113}
    return table(end(trial, "c0000-00000000", **(facts | values)))


def test_a_row_by_the_formulas() -> None:
    row = measured(TRIAL, 100, complexity_bytes=652, train_accuracy=1 - 283 / 3_831, val_accuracy=0.92)
    (records,) = analysis.generalisation_bounds(table(row), of_paper()).to_dict("records")
    assert {name: records[name] for name in row} == row
    bits = 8 * 652 + 16 + 38
    assert records["code_bits"] == bits
    assert records["training_errors"] == 283
    assert records["unseen_error_bound"] == bounds.unseen_error_bound(bits, 283, 3_831, 113**2)
    assert records["unseen_error_bound"] < records["chance_error"] == 112 / 113
    assert records["unseen_error"] == pytest.approx(0.08)
    assert records["lookup_table_bits"] == bounds.lookup_table_bits(3_831, 113)
    assert records["lookup_table_error_bound"] == 1
    assert records["all_error_bound"] == bounds.all_error_bound(bits, 283, 3_831, 113**2)
    assert records["binary_kl_bound"] == bounds.binary_kl_bound(bits, 283, 3_831)
    assert records["paper_bound"] == bounds.paper_bound(8 * 652 + 38, 283, 3_831)
    assert records["lookup_table_all_error"] == pytest.approx((1 - 3_831 / 113**2) * 112 / 113)
    assert records["all_error_bound"] < records["binary_kl_bound"] < records["paper_bound"]
    surer = analysis.generalisation_bounds(table(row), of_paper(), delta=1e-6)
    assert surer["unseen_error_bound"][0] > records["unseen_error_bound"]


def test_every_measured_step_of_a_sweep(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep", [(config, usual_fate(config)) for config in grid()])
    sizes, trials = analysis.complexity(path), analysis.trials(path)
    outcome = analysis.generalisation_bounds(sizes, trials)
    assert list(outcome.columns) == [column.name for column in (*COMPLEXITY, *BOUNDS)]
    pd.testing.assert_frame_equal(outcome[sizes.columns], sizes)
    assert outcome.drop(columns="group_val_accuracy").notna().all(axis=None)
    by_trial = trials.set_index(trials["trial_id"].astype(str))
    for row in outcome.iloc[:: len(outcome) // 20].to_dict("records"):
        n, unseen = by_trial.loc[row["trial_id"], ["training_examples", "validation_examples"]]
        alone = bounds.unseen_error_bound(row["code_bits"], row["training_errors"], n, n + unseen)
        assert alone == row["unseen_error_bound"]
        assert row["training_errors"] == round((1 - row["train_accuracy"]) * n)


def test_trials_that_have_not_ended_have_no_bounds() -> None:
    other = TrialConfig(task=TRIAL.task, model=TRIAL.model, seed=1)
    bounds = analysis.generalisation_bounds(table(measured(other, 5), measured(TRIAL, 5)), of_paper())
    of_bounds = bounds[[column.name for column in BOUNDS]]
    assert of_bounds.isna().all(axis=1).tolist() == [True, False]
    assert of_bounds.dtypes.eq(np.float64).all()
    assert analysis.generalisation_bounds(bounds.iloc[:0], of_paper().iloc[:0]).empty


def test_the_heads_of_an_mlp_cost_nothing() -> None:
    row = table(measured(TRIAL, 5))
    with_heads = analysis.generalisation_bounds(row, of_paper())["code_bits"][0]
    assert with_heads - analysis.generalisation_bounds(row, of_paper(model_kind="mlp"))["code_bits"][0] == 4


def test_learning_wrong_labels_is_no_way_to_a_better_bound() -> None:
    """A network that has learnt every label it was shown, a quarter of them wrong."""
    trial = TrialConfig(
        task=TaskConfig(modulus=7),
        model=ModelConfig(width=32, heads=2),
        data_fraction=0.6,
        label_noise=0.25,
        weight_decay=0.0,
        learning_rate=1e-2,
        steps=320,
    )
    *_, last = train([trial])
    assert last.end is not None
    assert last.network is not None
    assert last.train_accuracy == 1
    task = build_task(trial.task)
    lanes = {name: torch.stack([weight, weight]) for name, weight in last.network.items()}
    _, answers, _ = table_outcomes(
        architecture_of(task, trial.model), lanes, task.inputs, task.targets.repeat(2, 1)
    )
    trained_on = split(task, 0.6, 0.25, trial.seed).train
    truly_wrong = int((answers[0] != task.targets)[trained_on].sum())

    row = measured(trial, last.step, train_accuracy=last.train_accuracy, val_accuracy=last.val_accuracy)
    facts = of_paper(trial, training_examples=29, validation_examples=20, classes=7)
    (records,) = analysis.generalisation_bounds(table(row), facts).to_dict("records")
    assert records["training_errors"] == truly_wrong == round(0.25 * 29)
    # At most all of them are wrong.
    hopeless = analysis.generalisation_bounds(table(row | {"train_accuracy": 0.0}), facts)
    assert hopeless["training_errors"][0] == 29


def test_what_is_missing_is_said() -> None:
    row = table(measured(TRIAL, 5))
    with pytest.raises(AnalysisError, match=r"of what was measured; val_accuracy missing; load them too"):
        analysis.generalisation_bounds(row.drop(columns="val_accuracy"), of_paper())
    with pytest.raises(AnalysisError, match=r"of the trials; classes missing"):
        analysis.generalisation_bounds(row, of_paper().drop(columns="classes"))
    with pytest.raises(AnalysisError, match="delta is a probability"):
        analysis.generalisation_bounds(row, of_paper(), delta=0)
