"""The specification: defaults, YAML 1.2, overrides, and every mistake at once."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.errors import Problem, SpecificationError
from sweep.specification.config import SweepConfig, check_feasible, load_specification
from sweep.specification.file import preset_names
from sweep.specification.settings import ModelAxes, TaskAxes
from sweep.specification.trials import trials
from tests.trainables.digit_folder import ALL_DIGITS, write_folder
from trainables import register_model
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.schedule import MeasuringConfig

SCHEMA = Path(__file__).parents[3] / "docs" / "specification.schema.json"


def problems(text: str, tmp_path: Path, *overrides: str) -> list[str]:
    """What is wrong with a specification, without the folder's name."""
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecificationError) as caught:
        load_specification(str(path), overrides)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_right(name: str, tmp_path: Path) -> None:
    needed = [f"task.data={write_folder(tmp_path / 'data', *ALL_DIGITS)}"] if name == "mnist" else []
    config = load_specification(name, needed)
    assert config.name == name
    assert config.results_path == f"results/{name}"
    assert trials(config)


def test_files_that_a_preset_needs_are_asked_for_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=r"task\.data must be a folder .* set task\.data=PATH"):
        load_specification("mnist")
    with pytest.raises(
        SpecificationError, match=r"--set task\.data=.*: task\.data must be a folder .* there is no gone"
    ):
        load_specification("mnist", [f"task.data={tmp_path / 'gone'}"])


@pytest.mark.parametrize("name", ["permutations", "parity"])
def test_presets_of_other_tasks_fit_their_data_and_say_so_where_they_do_not(name: str) -> None:
    check_feasible(load_specification(name))
    with pytest.raises(SpecificationError, match=r"^epsilon must be below the loss of guessing|^--set epsilon=5: "):
        check_feasible(load_specification(name, ["epsilon=5"]))


def test_nothing_of_a_trial_is_left_out() -> None:
    """A field added to a trial, a task, a model or to measuring needs its place in the specification."""
    top = set(SweepConfig.model_fields)
    assert {field.name for field in dataclasses.fields(TrialConfig)} - {"seed"} <= top
    assert {field.name for field in dataclasses.fields(MeasuringConfig)} <= top
    for config, axes in ((TaskConfig, TaskAxes), (ModelConfig, ModelAxes)):
        # A source follows from a name, and is never written.
        assert {field.name for field in dataclasses.fields(config)} - {"source"} == set(axes.model_fields)


def test_defaults_are_those_of_a_trial_and_of_measuring() -> None:
    assert trials(SweepConfig()) == [TrialConfig()]
    assert SweepConfig().measuring == MeasuringConfig()


def test_every_mistake_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
# comment
task:
  family: additions
  modulos: 3
model: {kind: mlpp, width: [30, 64], heads: [7, 2], layers: 0}
weight_decy: 1
modulus: 7
weight_decay: [0, 1, 1.0]
data_fraction:
  - 0.5
  - 1.5
  - .nan
label_noise: []
learning_rate: "1e-3"
seeds: 0
steps: 0
stop: declin
decline: {patience: 0.1, patiense: 3}
lanes: many
audit_share: 2
seed: 3
epsilon: one
extra_epsilons: [2, 2]
name: a/b
weight_noise: -1
weight_noise: 0
"""
    listed = [line.partition("; try ")[0] for line in problems(text, tmp_path, "bacth_size=4", "nonsense")]
    assert listed == [
        "--set nonsense: must be KEY=VALUE with a dotted key, e.g. --set model.width=64",
        "s.yaml:3: task.family must be a known family, got 'additions'",
        "s.yaml:4: unknown key 'task.modulos'; did you mean 'modulus'?",
        "s.yaml:5: model.kind must be a known kind, got 'mlpp'",
        "s.yaml:5: model.heads must divide model.width, got 7 heads for width 30; use a divisor of 30",
        "s.yaml:5: model.heads must divide model.width, got 7 heads for width 64; use a divisor of 64",
        "s.yaml:5: model.layers must be at least 1, got 0",
        "s.yaml:6: unknown key 'weight_decy'; did you mean 'weight_decay'?",
        "s.yaml:7: unknown key 'modulus'; did you mean 'task.modulus'?",
        "s.yaml:8: weight_decay has the value 1.0 more than once; keep one",
        "s.yaml:11: data_fraction must lie strictly between 0 and 1, got 1.5; the rest is validation",
        "s.yaml:12: data_fraction[2] must be a finite number, got nan",
        "s.yaml:13: label_noise needs at least one value, got an empty list",
        "s.yaml:14: learning_rate must be a number, got '1e-3'; leave out the quotes",
        "s.yaml:15: seeds must be at least 1 or a list of seeds, got 0",
        "s.yaml:16: steps must be at least 1, got 0",
        "s.yaml:17: stop must be 'park', 'decline' or 'none', got 'declin'; did you mean 'decline'?",
        "s.yaml:18: decline.patience must be finite and at least 1, got 0.1",
        "s.yaml:18: unknown key 'decline.patiense'; did you mean 'patience'?",
        "s.yaml:19: lanes must be auto or a whole number of at least 1, got 'many'",
        "s.yaml:20: audit_share must be less than or equal to 1, got 2",
        "s.yaml:21: unknown key 'seed'; did you mean 'seeds'?",
        "s.yaml:22: epsilon must be a number, got 'one'",
        "s.yaml:23: extra_epsilons has the value 2.0 more than once; keep one",
        "s.yaml:24: name names a folder: letters, digits, '.', '_' and '-' only, got 'a/b'",
        "s.yaml:26: duplicate key 'weight_noise'; keep one",
        "--set bacth_size=4: unknown key 'bacth_size'; did you mean 'batch_size'?",
    ]


def test_what_the_data_of_a_task_refuses(tmp_path: Path) -> None:
    text = "task: {modulus: 7}\ndata_fraction: [0.2, 0.001]\nbatch_size: [4, 40]\nextra_epsilons: [0.5, 3]\n"
    assert problems(text, tmp_path, "epsilon=2") == [
        "s.yaml:2: both parts of the split need at least one example, got data_fraction 0.001 of 49: 0 to train on "
        "and 49 to validate; choose a fraction nearer to one half",
        "s.yaml:3: batch_size must be at most the smallest training set, 10 examples (data_fraction 0.2 of "
        "addition modulo 7), got 40; 0 is the full batch",
        "s.yaml:4: epsilon must be below the loss of guessing, ln(7 classes) = 1.946 nats, got 3.0; "
        "choose a smaller epsilon",
        "--set epsilon=2: epsilon must be below the loss of guessing, ln(7 classes) = 1.946 nats, got 2.0; "
        "choose a smaller epsilon",
    ]


def test_what_the_tables_of_exchanged_training_sets_refuse(tmp_path: Path) -> None:
    text = (
        "task: {modulus: 7}\ndrift:\n"
        "  - {}\n  - {64: {family: division}}\n  - {64: {fam: x}}\n  - 64: {family: subtract}\n"
    )
    # Which names are near depends on what other tests have registered.
    assert [line.partition("; try ")[0] for line in problems(text, tmp_path)] == [
        "s.yaml:4: drift at step 64: family must have a table of the same shape as addition modulo 7, got division "
        "modulo 7 with examples 42 instead of 49; choose another family",
        "s.yaml:5: drift[2] at step 64: unknown key 'fam'; did you mean 'family'?",
        "s.yaml:6: drift at step 64: task.family must be a known family, got 'subtract'",
    ]


def test_an_axis_of_exchanges(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("drift:\n  - {}\n  - 100: {split: 1}\n    4e3: {family: subtraction, shift: 0.5}\n")
    config = load_specification(str(path))
    assert config == SweepConfig(
        name="s", drift=[{}, {100: {"split": 1}, 4000: {"family": "subtraction", "shift": 0.5}}]
    )
    assert SweepConfig(**config.model_dump()) == SweepConfig(**json.loads(config.model_dump_json())) == config
    assert [trial.phases for trial in trials(config)] == [
        ((0, 20_000),),
        ((0, 128), (128, 4000), (4000, 20_000)),
    ]
    override = "drift={64: {split: 2}}"
    (trial,) = trials(load_specification(str(path), [override]))
    assert trial.drift.as_dict() == {"64": {"split": 2}}


def test_a_typing_error_names_the_option_and_the_nearest_key() -> None:
    with pytest.raises(SpecificationError) as caught:
        load_specification("quickstart", ["weight_decy=1"])
    assert str(caught.value) == "--set weight_decy=1: unknown key 'weight_decy'; did you mean 'weight_decay'?"


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(SpecificationError, match=r"no preset or file 'quikstart'; did you mean 'quickstart'\?"):
        load_specification("quikstart")


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    path = tmp_path / "my sweep.yaml"
    path.write_text("learning_rate: 1e-3\nsteps: 1e4\nstop: none\nseeds: [0o17, 2]\n")
    config = load_specification(str(path), ["weight_decay=[0, 1e-1]", "model.width=64", "model={width: 32}"])
    assert (config.learning_rate, config.steps, config.stop, config.seeds) == (1e-3, 10_000, "none", (15, 2))
    assert config.weight_decay == (0.0, 0.1)
    assert config.model == ModelAxes(width=32)
    assert config.name == "my-sweep"
    assert problems("stop: no\n", tmp_path) == ["s.yaml:1: stop must be 'park', 'decline' or 'none', got 'no'"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_decay: [0, 1\n", "not valid YAML"),
        ("weight_decay: !!python/object/apply:os.getcwd []\n", "only numbers, texts, lists and mappings"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("- 1\n", "a specification is a mapping"),
        ("? [a]\n: 2\n", "a key must be a text, got a list or a mapping"),
        ("results: ''\n", "results must be a folder or an s3:// address, got an empty text"),
        ("task: addition\n", "task must be a mapping"),
        ("results: 2026-01-01\n", "got timestamp"),
        ("weight_decay:\n", "weight_decay must be a number, got nothing"),
    ],
)
def test_what_is_not_a_specification(text: str, message: str, tmp_path: Path) -> None:
    assert message in problems(text, tmp_path)[0]


def test_an_override_cannot_go_into_a_number(tmp_path: Path) -> None:
    assert problems("task: 3\n", tmp_path, "task.modulus=7")[0] == (
        "--set task.modulus=7: task is 3, not a mapping, so it has no 'modulus'"
    )


def test_a_specification_made_in_python() -> None:
    config = SweepConfig(weight_decay=np.linspace(0, 1, 3), seeds=range(2), steps=np.int64(7), task={"modulus": 7})
    assert config.weight_decay == (0.0, 0.5, 1.0)
    assert config.seed_list == (0, 1)
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(SweepConfig(**config.model_dump()))
    with pytest.raises(SpecificationError) as caught:
        SweepConfig(weight_decay=[0, -1], steps=0, lerning_rate=3)
    assert str(caught.value).splitlines() == [
        "unknown key 'lerning_rate'; did you mean 'learning_rate'?",
        "weight_decay must be finite and at least 0, got -1.0",
        "steps must be at least 1, got 0",
    ]
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.problems == caught.value.problems


def axis(values: st.SearchStrategy[float]) -> st.SearchStrategy[object]:
    return values | st.lists(values, min_size=1, max_size=3, unique=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_decay": [[1]]}, "weight_decay[0] must be a number, got [1]"),
        ({"batch_size": [None, None]}, "batch_size has the value nothing more than once; keep one"),
        ({"device": "gpu"}, "device must be 'cpu' or 'cuda', got 'gpu'"),
        (
            {"reproducible": "everywhere"},
            "reproducible must be 'here' or 'across machines', got 'everywhere'",
        ),
        (
            {"reproducible": "across machines", "device": "cuda"},
            "reproducible: across machines needs device: cpu, got cuda; leave one of them out",
        ),
        ({"seeds": [2**63]}, "seeds: seed must be a non-negative 63-bit integer, got 9223372036854775808"),
        (
            {"model": {"width": 30}},
            "model.heads must divide model.width, got 4 heads for width 30; use a divisor of 30",
        ),
        ({"model": {"width": "30"}}, "model.width must be a whole number, got '30'; leave out the quotes"),
        ({"lanes": True}, "lanes must be auto or a whole number of at least 1, got True"),
        (
            {"spectral_start": "at_declin", "spectral_entropy_weight": 0.1},
            "spectral_start must be a step (a whole number) or at_decline, got 'at_declin'; did you mean "
            "'at_decline'?",
        ),
        (
            {"spectral_start": [0, 1.5], "spectral_entropy_weight": 0.1},
            "spectral_start[1] must be a step (a whole number) or at_decline, got 1.5",
        ),
        (
            {"spectral_start": "at_decline"},
            "spectral_start must be 0 where spectral_entropy_weight is 0, got 'at_decline': there is no penalty to "
            "start; give a weight above 0 or leave spectral_start out",
        ),
        (
            {"spectral_start": [0, -5], "spectral_entropy_weight": [0, 0.1]},
            "spectral_start must be a step, a whole number of at least 0, or at_decline, got -5",
        ),
        (
            {"spectral_start": [0, 500], "spectral_entropy_weight": 0.1, "steps": [400, 512, 600]},
            "spectral_start must come before the end of the budget, rounded up to blocks of 32 steps, got 500 for "
            "400 steps; start earlier or allow more steps\n"
            "spectral_start must come before the end of the budget, rounded up to blocks of 32 steps, got 500 for "
            "512 steps; start earlier or allow more steps",
        ),
        (
            {"spectral_start": 64, "spectral_entropy_weight": -1},
            "spectral_entropy_weight must be finite and at least 0, got -1.0",
        ),
        ({"drift": 4000}, "drift must be a mapping such as {4000: {split: 1}}, got 4000"),
        (
            {"drift": [{}, {4000: {"spilt": 1}}]},
            "drift[1] at step 4000: unknown key 'spilt'; did you mean 'split'?",
        ),
        ({"drift": {64: {"shift": "far"}}}, "drift at step 64: shift must be a finite number, got 'far'"),
        (
            {"drift": [{}, {400: {"split": 1}}], "steps": [400, 500]},
            "drift must come before the end of the budget, rounded up to blocks of 32 steps, got 416 for 400 "
            "steps; exchange earlier or allow more steps",
        ),
        (
            {"drift": {64: {"family": "subtraction"}}, "task": {"family": ["addition", "subtraction"]}},
            "drift at step 64 must change the training set, got the current one again; name another split, "
            "family or shift, or leave it out",
        ),
        ({"epsilon": 2, "extra_epsilons": [2]}, "extra_epsilons repeats epsilon, 2; leave it out"),
    ],
)
def test_one_mistake_is_one_message(values: dict[str, object], message: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        SweepConfig(**values)
    assert str(caught.value) == message


def test_starts_of_a_penalty_are_an_axis_and_a_trial_without_one_stands_once() -> None:
    starts = [0, 1e3, "at_decline"]
    planned = trials(SweepConfig(spectral_entropy_weight=[0, 0.1], spectral_start=starts))
    assert [(trial.spectral_entropy_weight, trial.spectral_start) for trial in planned] == [
        (0, 0),
        (0.1, 0),
        (0.1, 1000),
        (0.1, "at_decline"),
    ]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"modulus": 10**9}, "task.modulus must be at most 4096, a table that fits, got 1000000000"),
        (
            {"family": "permutations", "degree": [4, 60]},
            "task.degree must be at most 6, a table that fits, got 60",
        ),
        (
            {"family": "sparse_parity", "bits": 10**9, "examples": 10**9},
            "task.bits must be at most 1000, a table that fits, got 1000000000\n"
            "task.examples must be at most 100000, a table that fits, got 1000000000",
        ),
    ],
)
def test_a_table_too_large_for_memory_is_refused_before_it_is_built(task: dict[str, object], message: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        check_feasible(SweepConfig(task=task, epsilon=0.3))
    assert str(caught.value) == message


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "weight_decay": axis(st.floats(0, 1e3)),
            "data_fraction": axis(st.floats(0.1, 0.9)),
            "learning_rate": axis(st.floats(1e-9, 1)),
            "seeds": st.integers(1, 3) | st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
            "steps": axis(st.integers(1, 10**6)),
            "task": st.fixed_dictionaries({"modulus": axis(st.integers(5, 11))}),
            "stop": st.sampled_from(["park", "decline", "none"]),
            "lanes": st.just("auto") | st.integers(1, 64),
        },
    )
)
def test_a_file_says_what_python_says(values: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps(values))
    assert load_specification(str(path)) == SweepConfig(name="s", **values)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from("weight_decay: [0,1]{}&*!-#'\"\n\t|>%@`x.e")))
def test_any_text_is_a_specification_or_has_a_readable_problem(text: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    problems: tuple[Problem, ...] = ()
    try:
        load_specification(str(path))
    except SpecificationError as error:
        problems = error.problems
    assert all(problem.where for problem in problems)


def test_the_schema_for_editors_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == SweepConfig.model_json_schema(), (
        "write it again: python -c 'import json, sweep; print(json.dumps(sweep.SweepConfig.model_json_schema(), "
        f"indent=1))' > {SCHEMA.name}"
    )


def test_more_trials_than_anybody_means_are_refused_before_they_are_listed() -> None:
    with pytest.raises(SpecificationError, match="at most 100,000 trials, got 2,000,000; use fewer"):
        SweepConfig(weight_decay=[0, 1], seeds=1_000_000)


def test_a_network_whose_operations_are_not_certified_cannot_promise_its_bits() -> None:
    register_model("uncertified")(lambda _task, _model: None)
    with pytest.raises(SpecificationError) as caught:
        SweepConfig(reproducible="across machines", model={"kind": ["mlp", "uncertified"]})
    assert str(caught.value) == (
        "reproducible: across machines needs the network kinds transformer and mlp, whose operations "
        "are certified, got uncertified; leave `reproducible` out"
    )
