"""Specifications that are too large are refused before anything is listed, at each door, in one line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep import SweepConfig, run_here
from sweep.cli import main
from sweep.errors import SpecificationError
from sweep.specification.bounds import LARGEST_FILE_BYTES, LONGEST_AXIS, MOST_VALUES
from sweep.specification.config import load_specification
from sweep.specification.file import PRESETS, read_file
from sweep.specification.problems import MOST_PROBLEMS
from trainables import MeasurementError, measure
from trainables.config import Drift, ModelConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.schedule import MeasuringConfig

TOO_LARGE: list[tuple[dict[str, Any], str]] = [
    ({"model": {"layers": 1e9}}, "model.layers must be at most 1,000, got 1000000000"),
    ({"model": {"width": 10**6, "heads": 1}}, "model.width must be at most 65,536, got 1000000"),
    ({"weight_decay": range(10**12)}, "weight_decay may have at most 10,000 values, got 1,000,000,000,000"),
    ({"weight_decay": np.zeros(10**6)}, "weight_decay may have at most 10,000 values, got 1,000,000"),
    ({"weight_decay": [0.0] * 20_000}, "weight_decay may have at most 10,000 values, got 20,000"),
    ({"extra_epsilons": [0.5] * 100_000}, "extra_epsilons may have at most 10,000 values, got 100,000"),
    ({"extra_epsilons": [0.5 + i / 1e6 for i in range(100)]}, "extra_epsilons may have at most 63 values, got 100"),
    ({"cases": {"a": [{"weight_decay": 0}] * 20_000}}, "cases may have at most 1,000 mappings, got 20,000"),
    ({"steps": 1e12}, "steps must be at most 1,000,000,000, got 1000000000000"),
    ({"steps": 1e308}, "steps must be at most 1,000,000,000, got about 10^308"),
    ({"steps": 10**5000}, "steps must lie within +-18,446,744,073,709,551,615, got about 10^5000"),
    ({"evaluate_ratio": 1.0000001}, "evaluate_ratio must be greater than or equal to 1.001, got 1.0000001"),
    ({"epsilon": 1e-300}, "epsilon must be greater than or equal to 0.000000001, got 1e-300"),
    ({"lanes": 1e9}, "lanes must be auto or at most 100,000, got 1000000000"),
    ({"processes": 10**9}, "processes must be auto or at most 10,000, got 1000000000"),
    ({"seeds": 1e9}, "a sweep may have at most 100,000 trials, got 1,000,000,000"),
    (
        {name: list(np.linspace(0.1, 0.9, 1000)) for name in ("weight_decay", "data_fraction", "learning_rate")},
        "a sweep may have at most 100,000 trials, got 1,000,000,000",
    ),
    (
        {"task": {"modulus": list(range(5, 105))}, "model": {"width": list(range(4, 84, 4))}},
        "a sweep may have at most 1,000 different networks, each of one task, got 2,000",
    ),
    (
        {"drift": {step * 32 + 32: {"split": step % 2} for step in range(101)}},
        "drift may have at most 100 exchanges",
    ),
    ({"drift": {64: {"shift": 1e300}}}, "drift at step 64: shift must lie within +-1e+06, got 1e+300"),
    ({"drift": {"9" * 5000: {"split": 1}}}, "drift needs steps, whole numbers from 1 to 1,000,000,000, got "),
]


def one_line(error: BaseException) -> str:
    [line] = str(error).splitlines()
    assert len(line) < 400
    return line


@pytest.mark.parametrize(("values", "message"), TOO_LARGE)
def test_what_is_too_large_is_refused_with_the_limit(values: dict[str, Any], message: str) -> None:
    for door in (SweepConfig, run_here):
        with pytest.raises(SpecificationError) as caught:
            door(**values)
        assert message in one_line(caught.value)


def test_the_command_line_has_the_same_limits() -> None:
    outcome = CliRunner().invoke(main, ["plan", "tiny", "--set", "seeds=1e9"])
    assert (outcome.exit_code, outcome.stderr) == (
        2,
        "error: --set seeds=1e9: a sweep may have at most 100,000 trials, got 2,000,000,000; use fewer values or "
        "seeds\n",
    )


@pytest.mark.parametrize(
    ("build", "values"),
    [
        (TrialConfig, {"steps": 10**10}),
        (TrialConfig, {"steps": 10**5000}),
        (TrialConfig, {"weight_decay": 10**400}),
        (ModelConfig, {"layers": 10**9}),
        (MeasuringConfig, {"epsilon": 1e-300}),
        (MeasuringConfig, {"extra_epsilons": [0.5 + i / 1e6 for i in range(100)]}),
        (MeasuringConfig, {"measure_ratio": 1.0000001}),
        (Drift.of, {"values": {10**5000: {}}}),
    ],
)
def test_a_trial_made_in_python_has_the_same_limits(build: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        build(**values)
    one_line(caught.value)


def test_a_measurement_has_the_same_limits() -> None:
    for epsilons in ([1e-300], [0.5] * 65):
        with pytest.raises(MeasurementError, match="epsilon"):
            measure({}, lambda _: None, epsilons)  # type: ignore[arg-type, return-value]


def aliases(levels: int) -> str:
    """YAML whose last line stands for 9 to the power of `levels` numbers."""
    lines = ["x-0: &a0 0"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels + 1)]
    return "\n".join([*lines, f"weight_decay: *a{levels}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (aliases(9), f"s.yaml:1: a specification may have at most {MOST_VALUES:,} keys and values, those behind"),
        (
            "weight_decay: [" + "1," * 120_000,
            f"s.yaml:1: a specification may have at most {MOST_VALUES:,} keys and",
        ),
        ("x-a:\n" + "- {b: 1}\n" * 20_000, "s.yaml:6668: a specification may have at most 20,000 keys and values"),
        ("weight_decay: " + "[" * 40 + "]" * 40, "s.yaml:1: nested too deeply, more than 12 levels"),
        ("weight_decay: " + "[" * 4000 + "]" * 4000, "s.yaml: nested too deeply, more than 12 levels"),
        ("weight_decay: " + "[" * 100_000, "s.yaml: nested too deeply, more than 12 levels"),
        ("- " * 100_000, "s.yaml: nested too deeply, more than 12 levels"),
        ("a: [" + "," * 100_000, "s.yaml:1: not valid YAML: expected the node content, but found ','"),
        ("task: &t {<<: *t}", "s.yaml: nested too deeply, more than 12 levels, or an alias inside its own anchor"),
        ("# " + "x" * LARGEST_FILE_BYTES, "s.yaml:1: a specification may have at most 256 KiB, got 256 KiB"),
        ("weight_decay: 'x" + "y" * 10_000 + "'", "s.yaml:1: weight_decay must have at most 4,096 characters"),
        (
            "results: 0x" + "f" * 5000,
            "s.yaml:1: results must lie within +-18,446,744,073,709,551,615, got about 10^",
        ),
    ],
)
def test_a_file_has_bounds(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(text)
    with pytest.raises(SpecificationError) as caught:
        load_specification("s.yaml")
    assert one_line(caught.value).startswith(message)


def test_many_mistakes_are_counted_and_long_values_shortened(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("\n".join(f"key_{n}: {n}" for n in range(5000)))
    with pytest.raises(SpecificationError) as caught:
        load_specification(str(path))
    assert len(caught.value.problems) == MOST_PROBLEMS + 1
    assert caught.value.problems[-1].message == f"and {5000 - MOST_PROBLEMS:,} more problems"
    with pytest.raises(SpecificationError) as caught:
        SweepConfig(task=["a" * 200] * 200)
    assert len(one_line(caught.value)) < 150


def test_the_longest_axis_is_taken() -> None:
    config = SweepConfig(weight_decay=np.linspace(0, 1, LONGEST_AXIS))
    assert len(config.weight_decay) == LONGEST_AXIS  # type: ignore[arg-type]


def test_an_id_is_computed_once_and_not_copied_to_another_trial() -> None:
    trial = TrialConfig()
    assert trial.trial_id is trial.trial_id
    assert dataclasses.replace(trial, seed=1).trial_id != trial.trial_id
    assert "trial_id" not in trial.as_dict()
    assert re.fullmatch("[0-9a-f]{16}", trial.trial_id)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    preset=st.sampled_from(sorted(PRESETS.glob("*.yaml"))),
    edits=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 6),
            st.sampled_from(
                [
                    "",
                    "x",
                    ":",
                    "[",
                    "]",
                    "{",
                    "}",
                    "- ",
                    "\n",
                    "&a ",
                    "*a ",
                    "<<: ",
                    "1e308",
                    ".nan",
                    "null",
                    "0, 1",
                ]
            )
            | st.text(max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_an_edited_preset_is_a_specification_or_has_readable_problems(
    preset: Path, edits: list[tuple[float, int, str]], tmp_path: Path
) -> None:
    text = preset.read_text(encoding="utf-8")
    for share, removed, put in edits:
        place = int(share * len(text))
        text = text[:place] + put + text[place + removed :]
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    source = read_file(path)
    problems = [*source.problems]
    try:
        SweepConfig(**source.values)
    except SpecificationError as error:
        problems += error.problems
    assert all(len(problem.message) < 500 for problem in problems)
