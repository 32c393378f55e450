"""Settings that go together: what trials they give, and each mistake in one message."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from sweep.errors import SpecificationError
from sweep.plan.plan import plan
from sweep.results.store import Store
from sweep.specification.config import SweepConfig, load_specification
from sweep.specification.trials import trials
from trainables.config import ModelConfig, TaskConfig, TrialConfig

TWO = {
    "easy": [{"task": {"family": "addition"}, "weight_decay": [0, 1]}, {"weight_noise": 0.1, "steps": 50}],
    "hard": [{"task": {"family": "division"}, "model": {"layers": 2}, "data_fraction": 0.4}],
}
REST = {"task": {"modulus": 7}, "model": {"width": 8}, "learning_rate": [1e-3, 1e-2], "seeds": 2}


def problems(text: str, tmp_path: Path, *overrides: str) -> list[str]:
    """What is wrong with a specification, without the folder's name."""
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecificationError) as caught:
        load_specification(str(path), overrides)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_trials_are_the_union_over_the_mappings_the_seed_slowest() -> None:
    planned = trials(SweepConfig(**REST, cases=TWO))
    same = {"task": TaskConfig(modulus=7), "model": ModelConfig(width=8)}
    hard = {
        "task": TaskConfig(family="division", modulus=7),
        "model": ModelConfig(width=8, layers=2),
        "data_fraction": 0.4,
    }
    assert planned == [
        TrialConfig(**{"seed": seed, "learning_rate": rate, **settings})
        for seed in (0, 1)
        for settings, rates in (
            ({**same, "weight_decay": 0.0}, (1e-3, 1e-2)),
            ({**same, "weight_decay": 1.0}, (1e-3, 1e-2)),
            ({**same, "weight_noise": 0.1, "steps": 50}, (1e-3, 1e-2)),
            (hard, (1e-3, 1e-2)),
        )
        for rate in rates
    ]


def test_a_trial_of_a_case_is_the_trial_of_a_plain_specification() -> None:
    (case,) = trials(SweepConfig(cases={"a": [{"task": {"modulus": 7}, "model": {"layers": 2}}]}))
    (plain,) = trials(SweepConfig(task={"modulus": 7}, model={"layers": 2}))
    assert case.trial_id == plain.trial_id


def test_cases_can_be_chosen() -> None:
    every = trials(SweepConfig(**REST, cases=TWO))
    hard, easy = (trials(SweepConfig(**REST, cases=TWO, case=name)) for name in ("hard", "easy"))
    assert {trial.task.family for trial in hard} == {"division"}
    assert {*easy, *hard} == {*every}
    assert trials(SweepConfig(**REST, cases=TWO, case=["easy", "hard"])) == every
    assert trials(SweepConfig(**REST, cases=TWO, case=None)) == every


def test_a_case_may_be_called_as_anything(tmp_path: Path) -> None:
    assert trials(SweepConfig(cases={"values": [{}]}, case="values")) == trials(SweepConfig())
    with pytest.raises(SpecificationError, match=r"^cases\.value\[0\]\.steps must be a whole number, got 'x'$"):
        SweepConfig(cases={"value": [{"steps": "x"}]})


def test_a_specification_with_cases_can_be_stored_and_sent(tmp_path: Path) -> None:
    config = SweepConfig(**REST, cases=TWO, case="hard")
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(SweepConfig(**REST, cases=TWO, case="hard"))
    for values in (config.model_dump(mode="json"), config.model_dump(mode="json", exclude_unset=True)):
        again = SweepConfig(**json.loads(json.dumps(values)))
        assert trials(again) == trials(config)
    store = Store(str(tmp_path / "results"))
    store.write_request(config, [])
    stated = json.loads((tmp_path / "results" / "sweep.json").read_text())["specification"]
    assert stated["cases"] == json.loads(json.dumps(TWO))


def test_every_mistake_in_cases_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
task: {modulus: 7}
weight_decay: [0, 1]
cases:
  one:
    - {weight_decy: 1, seeds: 3}
    - {task: {family: additions}, data_fraction: [0.3, x, 2]}
    - [1]
    - {model: {width: 30, heads: [7, 2]}, modulus: 3, steps: 0}
    - {weight_decay: 2, data_fraction: 0.001}
  two: []
  a b: [{steps: many}]
  three: {steps: 3}
case: [one, tow]
"""
    listed = [line.partition("; try ")[0] for line in problems(text, tmp_path)]
    assert listed == [
        "s.yaml:2: weight_decay is in cases.one[4], too; set it in cases or outside, not both",
        "s.yaml:5: unknown key 'cases.one[0].weight_decy'; did you mean 'weight_decay'?",
        "s.yaml:5: unknown key 'cases.one[0].seeds'; seeds is the same for all cases, set it outside of them",
        "s.yaml:6: cases.one[1].task.family must be a known family, got 'additions'",
        "s.yaml:6: cases.one[1].data_fraction[1] must be a number, got 'x'",
        "s.yaml:6: cases.one[1].data_fraction must lie strictly between 0 and 1, got 2.0; the rest is validation",
        "s.yaml:7: cases.one[2] must be a mapping such as {key: value}, got [1]",
        "s.yaml:8: cases.one[3].model.heads must divide model.width, got 7 heads for width 30; use a divisor of 30",
        "s.yaml:8: unknown key 'cases.one[3].modulus'; did you mean 'cases.one[3].task.modulus'?",
        "s.yaml:8: cases.one[3].steps must be at least 1, got 0",
        "s.yaml:9: cases.one[4]: both parts of the split need at least one example, got data_fraction 0.001 of 49: "
        "0 to train on and 49 to validate; choose a fraction nearer to one half",
        "s.yaml:10: cases.two needs at least one value, got an empty list",
        "s.yaml:11: cases.a b[0].steps must be a whole number, got 'many'",
        "s.yaml:12: cases.three must be a list, got {'steps': 3}",
        "s.yaml:13: case must name a case, got 'tow'; did you mean 'two'?",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"cases": TWO, "case": "eas"},
            "case must name a case, got 'eas'; did you mean 'easy'?",
        ),
        ({"cases": TWO, "case": ["hard", "x"]}, "case must name a case, got 'x'; cases: easy, hard"),
        ({"cases": TWO, "case": [None]}, "case must name a case, got nothing; cases: easy, hard"),
        ({"cases": TWO, "case": ["hard", "hard"]}, "case has the value 'hard' more than once; keep one"),
        ({"case": "easy"}, "case must name a case, got 'easy'; there are no cases"),
        ({"cases": [1]}, "cases must be a mapping such as {key: value}, got [1]"),
        (
            {"cases": TWO, "task": {"family": "addition"}},
            "task.family is in cases.easy[0], too; set it in cases or outside, not both",
        ),
        (
            {"cases": {"a": [{"spectral_start": 64}]}},
            "cases.a[0].spectral_start must be 0 where spectral_entropy_weight is 0, got 64: there is no penalty "
            "to start; give a weight above 0 or leave spectral_start out",
        ),
        (
            {"cases": {"a": [{"model": {"width": 30}}]}, "model": {"heads": 7}},
            "model.heads must divide model.width, got 7 heads for width 30; use a divisor of 30",
        ),
        (
            {"cases": {"a": [{"learning_rate": [*range(1, 302)]}], "b": [{}]}, "seeds": 1000},
            "a sweep may have at most 100,000 trials, got 302,000; use fewer values or seeds",
        ),
    ],
)
def test_one_mistake_is_one_message(values: dict[str, object], message: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        SweepConfig(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (
            {"a": [{"weight_decay": [0, 1]}], "b": [{"weight_decay": 1, "steps": 9}]},
            "cases.b[0] has a trial of each seed in common with cases.a[0]; keep it in one of them",
        ),
        (
            {"a": [{"weight_decay": [0, 1]}, {"weight_decay": [0, 1, 2]}]},
            "cases.a[1] has 2 trials of each seed in common with cases.a[0]; keep them in one of them",
        ),
    ],
)
def test_trials_that_cases_share_are_refused(cases: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecificationError) as caught:
        plan(SweepConfig(cases=cases), Store("nowhere"))
    assert str(caught.value) == message
    assert problems(json.dumps({"cases": cases}), tmp_path) == [f"s.yaml:1: {message}"]


def test_a_wrong_value_of_an_axis_in_a_case_has_its_own_line(tmp_path: Path) -> None:
    text = "cases:\n  a:\n    - weight_decay:\n        - 0\n        - -1\n      seeds: 2\n"
    assert problems(text, tmp_path) == [
        "s.yaml:5: cases.a[0].weight_decay must be finite and at least 0, got -1.0",
        "s.yaml:6: unknown key 'cases.a[0].seeds'; seeds is the same for all cases, set it outside of them",
    ]


def test_an_option_that_cases_say_already_is_refused(tmp_path: Path) -> None:
    text = "cases: {a: [{weight_decay: 1}]}\n"
    assert problems(text, tmp_path, "weight_decay=0.5") == [
        "--set weight_decay=0.5: weight_decay is in cases.a[0], too; set it in cases or outside, not both"
    ]


def test_other_cases_need_not_fit_the_options() -> None:
    cases = {"small": [{"task": {"modulus": 7}}], "large": [{"task": {"modulus": 97}}]}
    with pytest.raises(SpecificationError, match="epsilon must be below the loss of guessing"):
        plan(SweepConfig(cases=cases, epsilon=3), Store("nowhere"))
    assert len(plan(SweepConfig(cases=cases, case="large", epsilon=3), Store("nowhere")).trials) == 1


def test_the_paper_has_six_operations_in_three_regimes() -> None:
    planned = trials(load_specification("paper"))
    settings = {
        (
            trial.task.family,
            trial.model.layers,
            trial.data_fraction,
            trial.weight_decay,
            trial.spectral_entropy_weight,
            trial.weight_noise,
        )
        for trial in planned
    }
    operations = {
        "addition": (1, 0.2, 1e-2),
        "multiplication": (1, 0.2, 1e-2),
        "subtraction": (2, 0.3, 1e-3),
        "division": (2, 0.3, 1e-3),
        "square_sum": (1, 0.4, 1e-3),
        "square_sum_product": (1, 0.6, 1e-3),
    }
    assert settings == {
        (family, layers, fraction, *regime)
        for family, (layers, fraction, noise) in operations.items()
        for regime in ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.1, noise))
    }
    assert len(planned) == 54
    assert {
        (trial.task.modulus, trial.model.width, trial.learning_rate, trial.batch_size) for trial in planned
    } == {(113, 128, 1e-3, None)}
    assert len(trials(load_specification("paper", ["case=addition"]))) == 9
